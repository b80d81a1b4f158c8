"""The line at the top: the product's name, the screens with their keys, the state of the run."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

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
)


class Nav(Widget):
    """Clickable tabs; in a narrow terminal the names shorten, in a wide one the run's state stands at the right."""

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
        """(page, label, first column) of each tab at the present width."""
        width = self.size.width
        x = 13 if width >= 112 else 0
        tabs = []
        for page, key, name in PAGES:
            label = f" {key} {name} " if width >= 112 else f"{key}{name} " if width >= 80 else f"{key}{name[:4]} "
            tabs.append((page, label, x))
            x += len(label)
        return tabs

    def render(self) -> Text:
        width = self.size.width
        text = Text(no_wrap=True, overflow="crop")
        text.append(" Petriscope  " if width >= 112 else "", style="bold")
        variables = self.app.theme_variables
        for page, label, _ in self._tabs():
            here = page == self.current
            text.append(label, style=f"bold {variables['background']} on {variables['primary']}" if here else "")
        room = width - text.cell_len - 1
        if self.state and room > 8:
            text.append(self.state[:room].rjust(room), style=variables["primary"])
        return text

    def on_click(self, event: events.Click) -> None:
        for page, label, x in self._tabs():
            if x <= event.x < x + len(label):
                self.post_message(self.Chosen(page))
