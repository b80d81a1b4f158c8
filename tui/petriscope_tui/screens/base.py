"""Every page shares the line at the top, the footer, and the message where there is nothing to
show."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer

from petriscope.atlas.query import Atlas
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.nav import Nav

if TYPE_CHECKING:
    from petriscope_tui.app import PetriscopeApp
    from petriscope_tui.glyphs import Glyphs
    from petriscope_tui.theme import Palette


class Page(Screen[None]):
    """A page composes ``body`` and fills it in ``fill(atlas)``; without an atlas it says why and
    what to do."""

    NAME: ClassVar[str] = ""
    NEEDS_ATLAS: ClassVar[bool] = True
    AUTO_FOCUS: ClassVar[str | None] = None

    @property
    def owner(self) -> PetriscopeApp:
        """The application, by its own type."""
        return cast("PetriscopeApp", self.app)

    @property
    def palette(self) -> Palette:
        return self.owner.palette

    @property
    def glyphs(self) -> Glyphs:
        return self.owner.glyphs

    @property
    def alive(self) -> bool:
        """Whether the page's widgets can be asked: a timer may fire once more while the app takes
        them down."""
        return self.is_mounted and self.app.is_running and self.is_attached

    def compose(self) -> ComposeResult:
        yield Nav(self.NAME)
        yield from self.body()
        with VerticalScroll(id="nothing", can_focus=False):
            yield Block(id="nothing-text")
        yield Footer(show_command_palette=False)

    def body(self) -> ComposeResult:
        """The page's own widgets, under one container with id ``body``."""
        raise NotImplementedError

    def fill(self, atlas: Atlas) -> None:
        """Show the atlas."""

    def on_mount(self) -> None:
        self.populate()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self.resumed()

    def resumed(self) -> None:
        """Called whenever the page comes to the front."""

    def populate(self) -> None:
        """Fill the page, or say what is missing."""
        atlas = self.owner.atlas
        missing = self.NEEDS_ATLAS and atlas is None
        self.query_one("#body").display = not missing
        self.query_one("#nothing").display = missing
        if missing:
            self.query_one("#nothing-text", Block).show(self._nothing, title="No atlas yet")
        elif atlas is not None:
            self.fill(atlas)

    def _nothing(self, width: int) -> Text:
        p = self.palette
        text = Text()
        text.append("\n  There is nothing to browse yet.\n\n", style="bold")
        for line in wrap(self.owner.handle.error or "", max(width - 4, 10)):
            text.append(f"  {line}\n", style=p.not_supported)
        text.append("\n")
        if self.owner.workspace.pipeline.exists():
            text.append("  7 ", style=f"bold {p.accent}")
            text.append("opens the pipeline; there, ")
            text.append("R ", style=f"bold {p.accent}")
            text.append("runs all of it.\n")
            text.append("    The demo needs nothing from outside.\n", style=p.dim)
        else:
            text.append("  This folder has no dvc.yaml. Start in a workspace:\n\n")
            text.append(
                "    petriscope reproduce --workspace demo\n    petriscope tui demo\n",
                style=p.accent,
            )
        text.append("  r ", style=f"bold {p.accent}")
        text.append("looks again.   ")
        text.append("? ", style=f"bold {p.accent}")
        text.append("lists the keys.\n")
        return text
