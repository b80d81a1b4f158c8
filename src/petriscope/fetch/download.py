"""Downloads run in parallel, resume and are checked: a file appears under its name only once it is
whole and right."""

from __future__ import annotations

import contextlib
import fcntl
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

from petriscope.errors import UserError
from petriscope.fetch.transfer import Policy, Stopped, Watch, digests, looks_wrong, stream
from petriscope.files import read_json, write_json
from petriscope.progress import bar

PATIENT = Policy()
LOCK_NAME = "sources.lock.json"
GUARD_NAME = ".download.lock"
"""Empty file by which a run keeps a second one out of the folder."""


@dataclass(frozen=True)
class Remote:
    """One file to fetch: where it lies, where it goes (relative), what is known of its content."""

    path: str
    url: str
    license: str = ""
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    def __post_init__(self) -> None:
        check_relative(self.path)
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise UserError(
                "is not an http or https address", field=self.url, remedy="Write https://HOST/PATH."
            )


class Outcome(NamedTuple):
    """What became of one file."""

    path: str
    bytes: int
    sha256: str
    fetched: bool
    """False where the file lay there already and was right."""
    first: bool
    """True where no checksum was known: the hash now in the lock file is that of this first
    download."""


@dataclass
class _Job:
    """What the workers share; ``guard`` protects the rest."""

    folder: Path
    lock: dict[str, dict[str, object]]
    meter: tqdm
    sizes: dict[str, int]
    stop: threading.Event = field(default_factory=threading.Event)
    guard: threading.Lock = field(default_factory=threading.Lock)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)


def check_relative(path: str) -> None:
    """Refuse a destination that could leave its folder: absolute, drive-lettered, or with `..`."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in parts[0] or ".." in parts:
        raise UserError(
            f"destination {path!r} leaves the data set's folder",
            remedy="Use a plain relative path.",
        )


def download_all(
    remotes: Sequence[Remote],
    folder: str | Path,
    *,
    jobs: int = 4,
    policy: Policy = PATIENT,
    verify: bool = False,
) -> list[Outcome]:
    """Fetch ``remotes`` into ``folder``, ``jobs`` at a time; returns one outcome per file, in
    order.

    A file already there with the size on record in `sources.lock.json` (with ``verify``: also the
    hash) is left alone. A part left by an earlier run is continued where the server proves it
    unchanged. Hash and size are checked against what is known of the source, else against the lock
    file; where nothing is known the first download's hash is recorded. All files are tried; if any
    failed, `UserError` names the first and how many more.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [remote.path for remote in remotes]
    if len(set(paths)) != len(paths):
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise UserError(
            f"two sources write {twice[0]}", remedy="Give every source its own destination."
        )
    with _alone(folder):
        return _download(remotes, folder, jobs, policy, verify)


def recorded(folder: Path) -> set[str]:
    """Paths that the lock file of ``folder`` records and that lie there with the recorded size."""
    lock_file = folder / LOCK_NAME
    lock = read_json(lock_file) if lock_file.is_file() else {}
    there = ((path, folder / path) for path in lock)
    return {
        path
        for path, file in there
        if file.is_file() and file.stat().st_size == lock[path]["bytes"]
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder: two writers would mix their parts."""
    with (folder / GUARD_NAME).open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "Wait for it to finish, or stop it."
            raise UserError(
                "another download is writing to this folder", file=folder, remedy=remedy
            ) from None
        yield


def _download(
    remotes: Sequence[Remote], folder: Path, jobs: int, policy: Policy, verify: bool
) -> list[Outcome]:
    lock_file = folder / LOCK_NAME
    lock = read_json(lock_file) if lock_file.is_file() else {}
    todo: queue.SimpleQueue[Remote] = queue.SimpleQueue()
    for remote in remotes:
        todo.put(remote)
    sizes = {remote.path: remote.bytes for remote in remotes if remote.bytes}
    with bar("downloading", total=sum(sizes.values()) or None, unit="B") as meter:
        meter.unit_scale = True
        job = _Job(folder, lock, meter, sizes)
        threads = [
            threading.Thread(target=_work, args=(job, todo, policy, verify), daemon=True)
            for _ in range(jobs)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        finally:
            job.stop.set()
    if job.failures:
        first = job.failures[0]
        if not isinstance(first, UserError):
            raise first
        others = len(job.failures) - 1
        remedy = (
            "Run the same command again: finished files stay, parts are continued."
            if others
            else None
        )
        raise UserError(str(first) + (f" ({others} more failed)" if others else ""), remedy=remedy)
    return [job.outcomes[remote.path] for remote in remotes]


def _work(job: _Job, todo: queue.SimpleQueue[Remote], policy: Policy, verify: bool) -> None:
    """A worker: one file after the other until none is left, or the run stops."""
    while not job.stop.is_set():
        try:
            remote = todo.get_nowait()
        except queue.Empty:
            return
        try:
            outcome = _fetch(job, remote, policy, verify)
        except Stopped:
            return
        except UserError as error:
            with job.guard:
                job.failures.append(error)
        except (
            Exception
        ) as error:  # a full disk, a bug: nothing else can go on; the caller's thread raises it
            with job.guard:
                job.failures.insert(0, error)
            job.stop.set()
        else:
            with job.guard:
                job.outcomes[remote.path] = outcome
                job.lock[remote.path] = {
                    "url": remote.url,
                    "bytes": outcome.bytes,
                    "sha256": outcome.sha256,
                    "checked": bool(remote.sha256 or remote.md5),
                }
                write_json(job.folder / LOCK_NAME, job.lock)


def _fetch(job: _Job, remote: Remote, policy: Policy, verify: bool) -> Outcome:
    target = job.folder / remote.path
    root = job.folder.resolve()
    if not target.parent.resolve().is_relative_to(root):
        raise UserError(
            "a link leads out of the data set's folder", file=target, remedy="Remove the link."
        )
    known = job.lock.get(remote.path, {})
    recorded = str(known["sha256"]) if "sha256" in known else None
    first = not (remote.sha256 or remote.md5 or recorded)
    if target.is_file():
        size = target.stat().st_size
        if recorded and not verify and size == known["bytes"]:
            return _already(job, Outcome(remote.path, size, recorded, False, False))
        found = digests(target)
        _compare(remote, recorded, size, found, target)
        return _already(job, Outcome(remote.path, size, found["sha256"], False, first))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    watch = Watch(
        job.stop, lambda n: _advance(job, n), lambda size: _announce(job, remote.path, size)
    )
    for attempt in (1, 2):
        resumed = stream(remote.url, part, policy, watch, expected=remote.bytes)
        found, size = digests(part), part.stat().st_size
        try:
            wrong = looks_wrong(part, remote.path)
            if wrong:
                raise UserError(
                    wrong,
                    file=remote.path,
                    field=remote.url,
                    remedy="Check the address; try again later.",
                )
            _compare(remote, recorded, size, found, Path(remote.path))
            break
        except UserError:
            part.unlink()
            if not resumed or attempt == 2:
                raise
            # a part stitched from two versions of the file: once more from the start
    with contextlib.suppress(FileNotFoundError):
        part.with_name(part.name + ".json").unlink()
    part.replace(target)
    return Outcome(remote.path, size, found["sha256"], True, first)


def _compare(
    remote: Remote, recorded: str | None, size: int, found: dict[str, str], where: Path
) -> None:
    """Refuse a file whose hash is not the source's, or failing that the lock file's."""
    for kind, wanted in (("sha256", remote.sha256), ("md5", remote.md5)):
        if wanted and found[kind] != wanted:
            what = f"{kind} is {found[kind]}, but {remote.url} should give {wanted} ({size} bytes)"
            raise UserError(
                what, file=where, remedy="Delete it if it is there, and run the same command again."
            )
    if recorded and not remote.sha256 and not remote.md5 and found["sha256"] != recorded:
        what = (
            f"sha256 is {found['sha256']}, but {LOCK_NAME} records {recorded} from the first "
            "download"
        )
        remedy = f"If the source changed on purpose, delete its entry in {LOCK_NAME} and run again."
        raise UserError(what, file=where, remedy=remedy)


def _advance(job: _Job, amount: int) -> None:
    with job.guard:
        job.meter.update(amount)


def _announce(job: _Job, path: str, size: int) -> None:
    """Let the bar's end grow by a file whose size only its server knew."""
    with job.guard:
        job.sizes[path] = size
        job.meter.total = sum(job.sizes.values())


def _already(job: _Job, outcome: Outcome) -> Outcome:
    """Count a file that was there."""
    _announce(job, outcome.path, outcome.bytes)
    _advance(job, outcome.bytes)
    return outcome
