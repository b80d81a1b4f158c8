"""The line at the top holds the product's name, the screens with their keys, the run's state."""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from petriscope.atlas.query import Atlas

PAGES = (
    ("overview", "1", "Overview"),
    ("features", "2", "Features"),
    ("feature", "3", "Feature"),
    ("compare", "4", "Compare"),
    ("layers", "5", "Layers"),
    ("causal", "6", "Causal"),
    ("pipeline", "7", "Pipeline"),
    ("figures", "8", "Figures"),
    ("search", "9", "Search"),
    ("controls", "0", "Controls"),
)
FURTHER = (
    ("graph", "G", "Graph", "around the feature"),
    ("modules", "M", "Modules", "features that fire together"),
    ("flow", "L", "Flow", "links between layers"),
    ("genes", "N", "Genes", "features that list a gene"),
    ("pathways", "W", "Pathways", "features of a term"),
    ("perturbation", "K", "Knock-downs", "what responds to a perturbation"),
)
"""Pages of atlases that hold more: name, key, title, what is shown."""
HELD: dict[str, Callable[[Atlas], bool]] = {
    "graph": lambda atlas: atlas.has_graph,
    "modules": lambda atlas: "modules" in atlas.tables,
    "flow": lambda atlas: "links" in atlas.tables,
    "genes": lambda atlas: "feature_genes" in atlas.tables,
    "pathways": lambda atlas: "feature_genes" in atlas.tables and bool(atlas.kinds),
    "perturbation": lambda atlas: "perturbations" in atlas.tables,
}
"""Whether an atlas holds what a page shows."""
SHORT = {
    "overview": "Over",
    "features": "Feats",
    "feature": "Feat",
    "compare": "Comp",
    "layers": "Layers",
    "causal": "Causal",
    "pipeline": "Pipe",
    "figures": "Figs",
    "search": "Find",
    "controls": "Ctrl",
}
BRAND = " Petriscope  "


class Nav(Widget):
    """Clickable tabs; in a narrow terminal the names shorten, in a wide one the run's state stands
    at the right."""

    DEFAULT_CSS = """
    Nav { height: 1; dock: top; background: $surface; color: $secondary; }
    """

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, page: str) -> None:
            super().__init__()
            self.page = page

    def __init__(self, current: str) -> None:
        super().__init__()
        self.current = current
        self.state = ""

    def say(self, state: str) -> None:
        """Show the run's state at the right."""
        if state != self.state:
            self.state = state
            self.refresh()

    def _tabs(self) -> list[tuple[str, str, int]]:
        """(page, label, first column) of each tab: the longest labels that leave room for the run's
        state."""
        width = self.size.width - (len(self.state) + 2 if self.state else 0)
        further = self.app.further()  # type: ignore[attr-defined]
        for form, start in (
            (" {key} {name} ", len(BRAND)),
            ("{key} {name} ", len(BRAND)),
            ("{key} {name} ", 0),
            ("{key} {short} ", 0),
            ("{key}{short} ", 0),
            ("{key}{short:.2} ", 0),
        ):
            x = start
            tabs = []
            for page, key, name, *_ in (*PAGES, *further):
                label = form.format(key=key, name=name, short=SHORT.get(page, name))
                tabs.append((page, label, x))
                x += len(label)
            if x <= width:
                break
        return tabs

    def render(self) -> Text:
        width, tabs = self.size.width, self._tabs()
        text = Text(no_wrap=True, overflow="crop")
        text.append(BRAND if tabs[0][2] else "", style="bold")
        variables = self.app.theme_variables
        for page, label, _ in tabs:
            here = page == self.current
            text.append(
                label,
                style=f"bold {variables['background']} on {variables['primary']}" if here else "",
            )
        room = width - text.cell_len - 1
        if self.state and room > 0:
            text.append(self.state[:room].rjust(room), style=variables["primary"])
        return text

    def on_click(self, event: events.Click) -> None:
        for page, label, x in self._tabs():
            if x <= event.x < x + len(label):
                self.post_message(self.Chosen(page))
