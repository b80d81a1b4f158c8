"""The screen Pipeline shows the stages as a graph, which are stale and why; it runs, watches and
cancels them, and edits the parameters."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Log, Static
from textual.worker import get_current_worker

from petriscope.errors import UserError
from petriscope.run.dvc import Hasher, Stopped
from petriscope.run.graph import Graph, draw_lanes, load_graph
from petriscope.run.launch import RunState, Scope
from petriscope.run.snapshot import refresh_code
from petriscope.run.status import StageStatus, pipeline_status, purpose, recorded_seconds
from petriscope_tui.screens.base import Page
from petriscope_tui.stage_view import WORDS, StageFacts, color, describe, duration, sign
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable

LOG_LINES = 5000


class PipelinePage(Page):
    """Stages at the left, the chosen one at the right, the log below."""

    NAME = "pipeline"
    NEEDS_ATLAS = False
    AUTO_FOCUS = "#stages"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "menu", "Menu", show=False),
        Binding("u", "start('one')", "Run one"),
        Binding("U", "start('upstream')", "Up to here", show=False),
        Binding("D", "start('downstream')", "From here on", show=False),
        Binding("F", "force", "Force", show=False),
        Binding("R", "start('all')", "Run all"),
        Binding("x", "cancel", "Cancel"),
        Binding("l", "log", "Log"),
        Binding("P", "params", "Params"),
        Binding("y", "copy", "Copy command", show=False),
    ]

    class Checked(Message):
        """From the checking thread: a stage's status, or a problem, or the end with the sums worth
        remembering."""

        def __init__(
            self,
            status: StageStatus | None,
            sums: dict[str, list[int | str]] | None = None,
            problem: str | None = None,
        ) -> None:
            super().__init__()
            self.status, self.sums, self.problem = status, sums, problem

    def __init__(self) -> None:
        super().__init__()
        self.graph: Graph | None = None
        self.problem: str | None = None
        self.status: dict[str, StageStatus] = {}
        self.run_state = RunState()
        self.sums: dict[str, list[int | str]] | None = None
        self._log_offset = 0
        self._log_file: str | None = None
        self.checked: float | None = None
        self.recorded: dict[str, float] = {}

    def body(self) -> ComposeResult:
        with Vertical(id="body"):
            yield Static("", id="pipeline-line")
            with Horizontal(id="pipeline-top"):
                yield VirtualTable(id="stages", empty="no stages")
                with VerticalScroll(id="stage-side", can_focus=False):
                    yield Block(id="stage-detail", title="Stage")
            yield Log(id="run-log", max_lines=LOG_LINES)

    def on_mount(self) -> None:
        self.query_one("#stages").add_class("framed")
        self.query_one("#stages").border_title = "Stages"
        log = self.query_one("#run-log", Log)
        log.add_class("framed")
        log.border_title = "Log   no run was started here yet: u runs one stage, R everything"
        super().on_mount()
        self.set_interval(0.5, self._tick)

    def populate(self) -> None:
        super().populate()
        workspace = self.owner.workspace
        try:
            self.graph, self.problem = load_graph(workspace.root), None
        except UserError as error:
            self.graph, self.problem = None, str(error)
        self.recorded = recorded_seconds(workspace.root)
        self._draw()
        self.check()

    def resumed(self) -> None:
        self.check()

    # Status
    # ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Compare every stage with dvc.lock, in a thread (large files are hashed)."""
        if self.graph is not None and not self.run_state.running:
            self.run_worker(
                self._check, thread=True, exclusive=True, group="status", exit_on_error=False
            )

    def _check(self) -> None:
        """The thread: it never touches a widget, it posts what it finds (a page that is closing
        takes no more)."""
        worker, graph = get_current_worker(), self.graph
        if graph is None:
            return
        hasher = Hasher(self.owner.workspace.root, lambda: worker.is_cancelled, self.sums)
        try:
            if self.owner.workspace.writable:
                refresh_code(self.owner.workspace.root)
            for status in pipeline_status(self.owner.workspace.root, graph, hasher):
                if worker.is_cancelled or not self.post_message(self.Checked(status)):
                    return
        except Stopped:
            return
        except (UserError, OSError) as error:
            self.post_message(self.Checked(None, problem=str(error)))
            return
        hasher.remember()
        self.post_message(self.Checked(None, sums=hasher.known))

    def on_pipeline_page_checked(self, message: Checked) -> None:
        """One stage's status, or the end of the comparison."""
        if message.status is not None:
            self.status[message.status.name] = message.status
            if message.status.name != self.current() and len(self.status) % 4:
                return
        elif message.problem is not None:
            self.problem = message.problem
        else:
            self.sums, self.checked = message.sums, time.time()
        self._draw()

    def _tick(self) -> None:
        """Twice a second while the page is in front: the run, its log, the locks."""
        if not self.is_current or not self.alive:
            return
        before = self.run_state
        self.run_state = self.owner.runner.poll_quietly()
        self._follow_log()
        if (
            before.running
            or self.run_state.running
            or before.exit_status != self.run_state.exit_status
        ):
            self._draw()
        if before.running and not self.run_state.running:
            self.recorded = recorded_seconds(self.owner.workspace.root)
            self.check()
        self._draw_line()

    def _follow_log(self) -> None:
        log = self.query_one("#run-log", Log)
        path = self.owner.runner.log_path()
        if path != self._log_file:
            self._log_file, self._log_offset = path, 0
            log.clear()
            log.border_title = f"Log   {Path(path).name}" if path else "Log"
        text, self._log_offset = self.owner.runner.log(self._log_offset)
        if text:
            log.write(text.replace("\r", "\n"))

    # Drawing
    # ------------------------------------------------------------------------------------------

    def state_of(self, name: str) -> str:
        """State of a stage with the present or last run taken into account."""
        run = self.run_state
        if run.running and run.stage == name:
            return "running"
        if run.running and name in run.done:
            return "up_to_date"
        status = self.status.get(name)
        state = status.state if status else "unknown"
        if run.failed == name and not run.cancelling and state != "up_to_date":
            return "failed"
        return state

    def _draw(self) -> None:
        self._draw_line()
        table = self.query_one("#stages", VirtualTable)
        table.edge = self.glyphs.cursor
        graph = self.graph
        if graph is None:
            table.empty = self.problem or "no pipeline"
            table.show(ListRows(), [Field("stage", "stage", 20)])
            self._detail()
            return
        lanes = draw_lanes(graph.needs, self.glyphs.dot)
        history = self.owner.runner.history()
        rows = []
        for name in graph.stages:
            state = self.state_of(name)
            past = [e["seconds"] for e in history.get(name, []) if e.get("ok")]
            took = (
                self.run_state.stage_seconds
                if state == "running"
                else past[-1]
                if past
                else self.recorded.get(name)
            )
            rows.append(((name, state), (name, state), (name, state), took, (lanes[name], state)))
        style = lambda v: color(v[1], self.palette)
        width = max((len(n) for n in graph.stages), default=10)
        lane_width = max((len(v) for v in lanes.values()), default=5)
        fields = [
            Field(
                "stage", "stage", width + 2, lambda v: f"{sign(v[1], self.glyphs)} {v[0]}", style
            ),
            Field("state", "state", 15, lambda v: WORDS[v[1]], style),
            Field("rel", "", 6, lambda v: self._relation(v[0]), lambda _: self.palette.accent),
            Field("took", "last took", 12, duration, lambda v: self.palette.dim, True),
            Field("graph", "graph", max(lane_width, 5), lambda v: v[0], style),
        ]
        if [f.width for f in table.fields] == [f.width for f in fields] and len(table.rows) == len(
            rows
        ):
            table.update(ListRows(rows), fields)
        else:
            table.show(ListRows(rows), fields, table.cursor)
        self._detail()

    def _relation(self, name: str) -> str:
        """How a stage relates to the one under the cursor."""
        here = self.current()
        if self.graph is None or here is None:
            return ""
        return (
            "needs"
            if name in self.graph.needs[here]
            else "feeds"
            if name in self.graph.feeds[here]
            else ""
        )

    def _draw_line(self) -> None:
        p, run = self.palette, self.run_state
        text = Text(no_wrap=True, overflow="ellipsis")
        others = [h for h in self.owner.runner.holders()]
        if self.problem:
            text.append(self.problem, style=p.not_supported)
        elif run.running:
            text.append(f"{self.glyphs.right} {run.brief}", style=f"bold {p.accent}")
            text.append(
                f"   {duration(run.seconds)}   {len(run.done)} stages done   x cancels", style=p.dim
            )
        elif any(h.alive for h in others):
            holder = next(h for h in others if h.alive)
            text.append(
                f"DVC is locked by process {holder.pid}: {holder.command}", style=p.untestable
            )
        elif others:
            text.append(
                f"stale lock of process {others[0].pid}, which is gone: .dvc/tmp/rwlock can be "
                f"removed",
                style=p.untestable,
            )
        elif run.exit_status not in (None, 0):
            text.append(f"{self.glyphs.no} {run.brief}", style=f"bold {p.not_supported}")
            text.append(
                f" (status {run.exit_status})   {run.failing_line or ''}", style=p.not_supported
            )
        else:
            stale = [n for n, s in self.status.items() if s.state != "up_to_date"]
            if self.checked is None:
                done, all_ = len(self.status), len(self.graph.stages) if self.graph else 0
                text.append(f"comparing files with dvc.lock: {done} of {all_} stages", style=p.dim)
            elif stale:
                text.append(
                    f"{len(stale)} of {len(self.status)} stages are not up to date",
                    style=p.untestable,
                )
            else:
                text.append(f"{self.glyphs.yes} everything is up to date", style=p.supported)
        if not self.owner.workspace.writable:
            text.append("   read-only folder: nothing can be run here", style=p.untestable)
        self.query_one("#pipeline-line", Static).update(text)

    def _detail(self) -> None:
        name = self.current()
        self.query_one("#stage-detail", Block).show(
            lambda width: self._describe(name, width), title=name or "Stage"
        )

    def _describe(self, name: str | None, width: int) -> Text:
        if name is None or self.graph is None:
            return Text(self.problem or "", style=self.palette.dim)
        status = self.status.get(name)
        facts = StageFacts(
            self.state_of(name),
            status.reasons if status else (),
            self.run_state.failing_line if self.state_of(name) == "failed" else None,
            self.owner.runner.history().get(name, []),
            purpose(name, self.owner.workspace.root),
        )
        return describe(name, self.graph, facts, self.palette, self.glyphs, width)

    def current(self) -> str | None:
        """Name of the stage under the cursor."""
        if self.graph is None or not self.graph.stages:
            return None
        names = list(self.graph.stages)
        return names[min(self.query_one("#stages", VirtualTable).cursor, len(names) - 1)]

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        message.table.refresh()
        self._detail()

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        self.action_menu()

    # Actions
    # ------------------------------------------------------------------------------------------

    def action_menu(self) -> None:
        """Everything that can be done with this stage."""
        from petriscope_tui.screens.dialogs import ChoiceDialog

        name = self.current()
        if name is None or self.graph is None:
            return
        later = len(self.graph.downstream([name])) - 1
        choices = [
            ("one", f"u   run {name} alone, if it is stale"),
            ("upstream", f"U   run {name} and whatever stale it needs"),
            ("downstream", f"D   run {name} and the {later} stages downstream of it"),
            ("force", f"F   run {name} alone, stale or not"),
            ("all", "R   run everything that is stale"),
            ("force_all", "    run everything, stale or not, without the run cache"),
        ]
        self.app.push_screen(ChoiceDialog(f"Stage {name}", choices), self._chosen)

    def _chosen(self, choice: str | None) -> None:
        if choice == "force":
            self._start("one", force=True)
        elif choice == "force_all":
            self._start("all", force=True)
        elif choice:
            self.action_start(choice)

    def action_start(self, scope: str) -> None:
        """Start a run."""
        self._start(scope, force=False)  # type: ignore[arg-type]

    def action_force(self) -> None:
        """Run this stage whether or not it is stale, after a question."""
        from petriscope_tui.screens.dialogs import ConfirmDialog

        name = self.current()
        if name is None or self.graph is None:
            return
        later = self.graph.downstream([name])[1:]
        text = f"{name} runs again even if nothing changed."
        if later:
            text += f"\nIf its outputs differ, {len(later)} stages become stale: {', '.join(later)}"
        dialog = ConfirmDialog(f"Force {name}?", text)
        self.app.push_screen(dialog, lambda yes: self._start("one", force=True) if yes else None)

    def _start(self, scope: Scope, force: bool) -> None:
        name = self.current()
        if (
            scope != "all"
            and name is not None
            and self.graph is not None
            and self.graph.stages[name].is_data
        ):
            self.notify(f"{name} is data, not a stage: R runs everything", severity="warning")
            return
        try:
            self.owner.runner.start(scope, name, force=force)
        except (UserError, OSError) as error:
            self.notify(str(error), severity="error", timeout=8)
            return
        self.set_class(True, "-log")
        self._tick()

    def action_cancel(self) -> None:
        """Interrupt the run; a second time terminates, a third kills."""
        if self.owner.runner.poll_quietly().running:
            self.owner.runner.cancel()
            self.notify("interrupting the run: finished outputs stay intact")
        else:
            self.notify("no run to cancel")

    def action_log(self) -> None:
        """Show the log or the stage's details (in a wide terminal, a larger log)."""
        self.toggle_class("-log")

    def action_params(self) -> None:
        """Edit params.yaml; which stages an edit invalidates is shown before saving."""
        from petriscope_tui.screens.params import ParamsDialog

        def saved(changed: bool | None) -> None:
            if changed:
                self.populate()

        self.app.push_screen(ParamsDialog(self.owner.workspace.params, self.graph), saved)

    def action_copy(self) -> None:
        """Copy the stage's command."""
        name = self.current()
        if name and self.graph:
            self.owner.copy(self.graph.stages[name].cmd or name)
