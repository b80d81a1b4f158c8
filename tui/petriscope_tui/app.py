"""The application owns workspace, atlas and run; screens are loaded when first visited."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import feature_name, parse_feature
from petriscope.run.dvc import state_folder
from petriscope_tui.command import check_feature
from petriscope_tui.glyphs import ASCII, UNICODE, Glyphs, wants_ascii
from petriscope_tui.theme import DARK, LIGHT, THEMES, Palette
from petriscope_tui.widgets.nav import FURTHER, HELD, PAGES, Nav
from petriscope_tui.workspace import AtlasHandle, Workspace

if TYPE_CHECKING:
    from petriscope.run.launch import Runner
    from petriscope_tui.screens.base import Page


def _loader(name: str) -> Callable[[], Screen]:
    def load() -> Screen:
        return getattr(
            import_module(f"petriscope_tui.screens.{name}"), f"{name.capitalize()}Page"
        )()

    return load


class PetriscopeApp(App[None]):
    """Browse a feature atlas and drive the pipeline that makes it."""

    TITLE = "Petriscope"
    CSS_PATH = Path(__file__).with_name("styles.tcss")
    COMMAND_PALETTE_BINDING = "ctrl+o"  # `docker run -it` swallows Ctrl+P
    SCREENS: ClassVar[dict] = {page: _loader(page) for page, *_ in (*PAGES, *FURTHER)}
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide"), (170, "-vast")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"visit('{page}')", name, show=False) for page, key, name in PAGES),
        *(Binding(key, f"visit('{page}')", name, show=False) for page, key, name, *_ in FURTHER),
        Binding("slash", "visit('search')", "Search", show=False),
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding(
            "ctrl+o", "command_palette", "Commands", show=True, key_display="^o", priority=True
        ),
        Binding("colon", "command_palette", "Commands", show=False),
        Binding("T", "toggle_theme", "Light or dark", show=False),
        Binding("backspace", "back", "Back", show=False),
        Binding("r", "reload", "Reload", show=False),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+q", "leave", "Quit", show=False, priority=True),
    ]

    def __init__(
        self, workspace: Path, feature: str | None = None, *, glyphs: Glyphs | None = None
    ) -> None:
        browser = (
            "TEXTUAL_DRIVER" in os.environ
        )  # a browser's terminal speaks UTF-8 whatever the server's locale is
        ascii_only = (wants_ascii() and not browser) if glyphs is None else not glyphs.unicode
        if ascii_only and os.name == "posix" and glyphs is None:
            from petriscope_tui.ascii_driver import AsciiDriver

            super().__init__(driver_class=AsciiDriver)
        else:
            super().__init__()
        self.glyphs = ASCII if ascii_only else UNICODE
        self.workspace = Workspace(Path(workspace).absolute())
        self.handle = AtlasHandle(self.workspace.atlas)
        self.current_feature: int | None = None
        self.marked_feature: int | None = None
        self.compared: tuple[int, int] | None = None
        self.compared_layers: tuple[int, int] | None = None
        self.pending_filter: str | None = None
        self.trail: list[str] = []
        self._runner: Runner | None = None
        self._first_feature = feature
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "petriscope-dark"

    # State shared by the screens
    # -------------------------------------------------------------------------------

    @property
    def atlas(self) -> Atlas | None:
        """The open atlas, or None (the reason is in ``handle.error``)."""
        return self.handle.get()

    def further(self) -> list[tuple[str, str, str, str]]:
        """The pages that this atlas holds the tables of, beside those of every atlas."""
        atlas = self.atlas
        if atlas is None:
            return []
        return [page for page in FURTHER if HELD[page[0]](atlas)]

    @property
    def palette(self) -> Palette:
        """Colors with meaning in the present theme."""
        return DARK if self.current_theme.dark else LIGHT

    @property
    def runner(self) -> Runner:
        """Control of the pipeline (loaded when first needed)."""
        if self._runner is None:
            from petriscope.run.launch import Runner

            self._runner = Runner(self.workspace.root)
        return self._runner

    # Life
    # ------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        page = "overview"
        if self._first_feature:
            self.current_feature, page = parse_feature(self._first_feature), "feature"
        self.trail.append(page)
        self.push_screen(page)
        self.set_interval(1.0, self._watch_run)

    def _watch_run(self) -> None:
        """Show a run's state on every page; load a new atlas when the run that writes it ends."""
        if (
            not self.is_running or not self.screen_stack
        ):  # the timer can fire once more while the app closes
            return
        if (
            self._runner is None
            and not (state_folder(self.workspace.root) / "current.json").exists()
        ):
            return
        state = self.runner.poll()
        for nav in self.screen.query(Nav):
            nav.say(state.brief)
        if state.ended_now:
            good = state.exit_status == 0
            self.notify(state.brief, severity="information" if good else "error", timeout=8)
            if self.handle.changed():
                self.action_reload()

    def _theme_changed(self, theme: object) -> None:
        for screen in self.pages():
            screen.populate()

    def pages(self) -> list[Page]:
        """The pages visited so far."""
        from petriscope_tui.screens.base import Page

        return [s for s in self._installed_screens.values() if isinstance(s, Page) and s.alive]

    # Going places
    # ------------------------------------------------------------------------------------------

    def action_visit(self, page: str) -> None:
        """Show a page."""
        if len(self.screen_stack) > 2:
            return
        if not self.trail or self.trail[-1] != page:
            self.trail.append(page)
            del self.trail[:-50]
            self.switch_screen(page)

    async def action_back(self) -> None:
        """The page before this one."""
        if len(self.trail) > 1 and len(self.screen_stack) <= 2:
            self.trail.pop()
            self.switch_screen(self.trail[-1])

    def on_nav_chosen(self, message: Nav.Chosen) -> None:
        self.action_visit(message.page)

    def open_feature(self, identifier: int) -> None:
        """Show the page of one feature."""
        self.current_feature = identifier
        if self.trail and self.trail[-1] == "feature":
            for page in self.pages():
                if page.NAME == "feature":
                    page.populate()
        else:
            self.action_visit("feature")

    def open_filter(self, query: str) -> None:
        """Show the features that pass a filter."""
        self.pending_filter = query
        self.action_visit("features")

    def mark(self, identifier: int) -> None:
        """Mark a feature for comparison; the second mark opens the comparison of both."""
        if self.marked_feature is None or self.marked_feature == identifier:
            self.marked_feature = identifier
            self.notify(
                f"marked {feature_name(identifier)}: mark another with m to compare", timeout=4
            )
            return
        self.compared = (self.marked_feature, identifier)
        self.marked_feature = None
        self.action_visit("compare")

    # Actions
    # ------------------------------------------------------------------------------------------

    def action_toggle_theme(self) -> None:
        """Light or dark."""
        self.theme = "petriscope-light" if self.current_theme.dark else "petriscope-dark"

    def action_reload(self) -> None:
        """Open the atlas again and refresh every page."""
        self.handle.reopen()
        for screen in self.pages():
            screen.populate()

    def action_help(self) -> None:
        """The keys and the filter language."""
        from petriscope_tui.screens.dialogs import HelpDialog

        if not isinstance(self.screen, HelpDialog):
            self.push_screen(HelpDialog())

    def action_leave(self) -> None:
        """Quit; a run in progress is kept or cancelled by choice."""
        if self._runner is None or not self._runner.poll().running:
            self.exit()
            return
        from petriscope_tui.screens.dialogs import LeaveDialog

        def decide(choice: str | None) -> None:
            if choice == "cancel" and self._runner is not None:
                self._runner.cancel()
            if choice in ("keep", "cancel"):
                self.exit()

        if not isinstance(self.screen, LeaveDialog):
            self.push_screen(LeaveDialog(), decide)

    def copy(self, text: str) -> None:
        """Put text on the clipboard of the terminal (OSC 52) and say so."""
        self.copy_to_clipboard(text)
        self.notify(
            f"copied {text if len(text) < 60 else str(len(text)) + ' characters'}", timeout=2
        )

    def get_system_commands(self, screen: Screen) -> Iterable[SystemCommand]:
        """Every page and every action, also in the command palette."""
        for page, key, name in PAGES:
            yield SystemCommand(
                f"Go to {name}", f"key {key}", lambda page=page: self.action_visit(page)
            )
        for page, key, name, what in self.further():
            yield SystemCommand(
                f"Go to {name}", f"key {key}: {what}", lambda page=page: self.action_visit(page)
            )
        for binding in screen.BINDINGS:
            if isinstance(binding, Binding) and binding.description:
                action = binding.action
                yield SystemCommand(
                    f"{binding.description} ({binding.key})",
                    "on this page",
                    lambda action=action: self.call_later(screen.run_action, action),
                )
        yield SystemCommand("Light or dark", "key T", self.action_toggle_theme)
        yield SystemCommand("Reload the atlas", "key r", self.action_reload)
        if self.current_feature is not None:
            name = feature_name(self.current_feature)
            yield SystemCommand(
                f"Copy {name}", "identifier of the current feature", lambda: self.copy(name)
            )
        yield SystemCommand(
            "Save a screenshot", "an SVG in the workspace", self.action_save_picture
        )
        yield SystemCommand("Help", "keys and filter language", self.action_help)
        yield SystemCommand("Quit", "key q", self.action_leave)

    def action_save_picture(self) -> None:
        """Write the screen as SVG into the workspace."""
        from petriscope_tui.delimited import unused

        try:
            name = unused(self.workspace.root / "petriscope.svg").name
            path = self.save_screenshot(name, str(self.workspace.root))
        except OSError as error:
            self.notify(f"cannot write the picture: {error}", severity="error")
        else:
            self.notify(f"wrote {path}")


def run(workspace: Path, feature: str | None = None) -> int:
    """Run the application in this terminal. Raises UserError where ``feature`` is not a feature's
    name."""
    check_feature(feature)
    app = PetriscopeApp(workspace, feature)
    app.run()
    return app.return_code or 0
