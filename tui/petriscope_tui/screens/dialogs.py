"""Small windows open over a page: choose one, choose columns, type a name, confirm, help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widgets import Input, OptionList, SelectionList, Static
from textual.widgets.option_list import Option
from textual.widgets.selection_list import Selection

from petriscope.atlas.filters import FLAGS

HELP = """\
Everywhere   1-9, 0 pages   / search   ^o or : commands   Tab next panel   backspace back
             y copy   T light or dark   r reload   ? help   q quit
Tables       arrows or hjkl   PgUp PgDn Home End   Enter opens   a click on a heading sorts
Features     f filter   s sort   S reverse   c columns   v saved   w save filter
             e export   m mark (two marks open Compare)
Feature      n p next and previous   g go to   m mark   Y copy place   e export
Graph        G from anywhere, where the atlas has one   enter goes on   o opens the feature
Lists        where the atlas has them: M modules   L flow between layers   N genes
             W pathways   K knock-downs   ([ ] layer of modules   s sort   a all in the table)
Compare      a b choose left and right   s swap   o O open left or right
Layers       Enter or f its features   c compare two layers
Causal       n p layer   g stratum   t ablation or steering in the table
Pipeline     u run one   U up to here   D from here on   F force   R all   Enter menu
             x cancel (again: terminate, kill)   l log   P edit params
Figures      z full width

Colors      the two conditions, strata, verdicts; each is also said by a word or a sign
The filter language (all terms must hold; - negates; commas mean any of)
  q<.01  cds_q<1%  layer>=4  layer:3..5  density>.001  t_liver>3
  lineage:liver  context:vivo  label:gata  label=GATA1
  motif:HNF4A  go:"lipid metabolic"  state:Enh       enriched at q < alpha of the run
  gene:APOL1  chr22:37,500,000-37,600,000            a top bin lies there
  gene:CDK1  celltype:monocyte  network:STRING       where features list genes
  is:{flags}
  L6/1234  or any word: label or an enriched term contains it
"""


class ChoiceDialog(ModalScreen[str | None]):
    """One of a list; typing narrows it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("down", "to_list", "List", show=False),
    ]

    def __init__(
        self, title: str, choices: Sequence[tuple[str, str]], chosen: str | None = None
    ) -> None:
        super().__init__()
        self.heading, self.choices, self.chosen = title, list(choices), chosen

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.heading, classes="dialog-title")
            yield Input(placeholder="type to narrow", id="narrow")
            yield OptionList(id="options")
            yield Static("Enter chooses   Esc closes", classes="dialog-hint")

    def on_mount(self) -> None:
        self._list("")
        options = self.query_one(OptionList)
        for index, (key, _) in enumerate(self.choices):
            if key == self.chosen:
                options.highlighted = index
        options.focus()

    def on_key(self, event) -> None:  # type: ignore[no-untyped-def]
        options = self.query_one(OptionList)
        if options.has_focus and event.is_printable and event.character not in (None, " "):
            line = self.query_one(Input)
            line.value += event.character
            line.focus()
            line.cursor_position = len(line.value)
            event.stop()

    def _list(self, needle: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        words = needle.casefold().split()
        for index, (_, text) in enumerate(self.choices):
            if all(word in text.casefold() for word in words):
                options.add_option(
                    Option(Text(text, no_wrap=True, overflow="ellipsis"), id=str(index))
                )
        if options.option_count:
            options.highlighted = 0

    def on_input_changed(self, event: Input.Changed) -> None:
        self._list(event.value)

    def on_input_submitted(self) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            options.action_select()

    def action_to_list(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.choices[int(event.option.id or 0)][0])


class Checklist(SelectionList[str]):
    """Chosen entries carry an X, the others none: Textual's own list tells them apart by color
    alone."""

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        row = self.scroll_offset.y + y
        if row >= self.option_count or self.get_option_at_index(row).value in self.selected:
            return strip
        left, mark, *rest = strip
        return Strip([left, Segment(" " * len(mark.text), mark.style), *rest])


class ColumnsDialog(ModalScreen[list[str] | None]):
    """Which columns the table shows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("enter", "apply", "Apply", priority=True),
    ]

    def __init__(self, columns: Sequence[tuple[str, str]], shown: Sequence[str]) -> None:
        super().__init__()
        self.columns, self.shown = columns, list(shown)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Static("Columns", classes="dialog-title")
            yield Checklist(
                *(
                    Selection(f"{name:<18} {text}", name, name in self.shown)
                    for name, text in self.columns
                )
            )
            yield Static("Space toggles   Enter applies   Esc closes", classes="dialog-hint")

    def action_apply(self) -> None:
        chosen = set(self.query_one(SelectionList).selected)
        kept = [name for name in self.shown if name in chosen]
        self.dismiss(
            kept + [name for name, _ in self.columns if name in chosen and name not in kept]
        )


class PromptDialog(ModalScreen[str | None]):
    """A name."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close")]

    def __init__(self, title: str, value: str = "") -> None:
        super().__init__()
        self.heading, self.value = title, value

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.heading, classes="dialog-title")
            yield Input(self.value)
            yield Static("Enter accepts   Esc closes", classes="dialog-hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)


class ConfirmDialog(ModalScreen[bool]):
    """Yes or no, with what will happen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "dismiss(False)", "No"),
        Binding("enter,y", "dismiss(True)", "Yes"),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self.heading, self.text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self.heading, classes="dialog-title")
            yield Static(self.text, markup=False)
            yield Static("Enter or y: yes   Esc or n: no", classes="dialog-hint")


class LeaveDialog(ModalScreen[str | None]):
    """A run is in progress: keep it, cancel it, or stay."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "dismiss('keep')", "Keep running"),
        Binding("c", "dismiss('cancel')", "Cancel the run"),
        Binding("escape", "dismiss(None)", "Stay"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("A run is in progress", classes="dialog-title")
            yield Static(
                "k   quit, the run goes on (open the UI again to watch it)\n"
                "c   cancel the run cleanly, then quit\n"
                "Esc stay here",
                markup=False,
            )


class HelpDialog(ModalScreen[None]):
    """Keys and the filter language."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close")
    ]

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog"):
            yield Static("Keys and filters", classes="dialog-title")
            yield Static(HELP.format(flags=" ".join(FLAGS)), markup=False)
