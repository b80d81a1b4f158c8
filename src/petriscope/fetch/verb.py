"""What the verbs that fetch a data set share: their arguments, the dry run, the transfer, and what
they print of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from petriscope.errors import UserError
from petriscope.fetch.download import (
    GUARD_NAME,
    LOCK_NAME,
    Outcome,
    Remote,
    download_all,
    recorded,
)
from petriscope.fetch.sources import Source
from petriscope.fetch.transfer import Policy
from petriscope.files import Output, claim
from petriscope.progress import progress

FETCHED = Output("fetched sources", (LOCK_NAME, "*"))

Resolve = Callable[[Source, Mapping[str, str], Policy], list[Remote]]


def add_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare the verb's arguments; ``default`` is the folder it fills."""
    parser.add_argument("out", nargs="?", default=default, help=f"folder to fill ({default})")
    parser.add_argument(
        "--dry-run", action="store_true", help="print sources, bytes and licenses; fetch nothing"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these groups or source ids")
    parser.add_argument("--jobs", type=int, default=4, help="transfers at a time (default: 4)")
    parser.add_argument(
        "--verify", action="store_true", help="read files already there and check their hashes"
    )
    parser.add_argument(
        "--sources", metavar="FILE", help="another source table, such as one that names a mirror"
    )


def check_jobs(jobs: int) -> None:
    """Raise `UserError` for a number of transfers that makes no sense."""
    if not 1 <= jobs <= 32:
        raise UserError(f"is {jobs}", field="--jobs", remedy="Use 1 to 32.")


def claimed(out: str | Path) -> Path:
    """The folder to fill, refused where it holds anything else."""
    out = Path(out)
    if not (out.is_dir() and _begun(out)):
        claim(out, FETCHED)
    return out


def _begun(out: Path) -> bool:
    """Whether all that ``out`` holds is of a first fetch that was interrupted, or that failed
    before a file was whole and right."""
    names = [path.name for path in out.rglob("*") if not path.is_dir()]
    left = [name for name in names if name != GUARD_NAME and not name.endswith(".part.json")]
    return any(name.endswith(".part") for name in names) or bool(names and not left)


def licenses(chosen: Sequence[Source]) -> list[str]:
    """A line per license: what it covers."""
    found = sorted({source.licence for source in chosen})
    return [
        f"license  {name}: {', '.join(sorted({s.group for s in chosen if s.licence == name}))}"
        for name in found
    ]


def plan(chosen: Sequence[Source]) -> list[str]:
    """The dry run: a line per source with its size, its checksum and its address; the total and the
    licenses."""
    rows = [(s.group, s.id, s.size, pinned(s), f"{s.what}  <{s.address}>") for s in chosen]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0])) for row in rows]
    sizes = [source.bytes or source.about for source in chosen]
    unknown = sum(size is None for size in sizes)
    total = f"{len(chosen)} sources, about {sum(size or 0 for size in sizes):,} bytes"
    total += f" and {unknown} of unknown size" if unknown else ""
    note = "~ estimated; ENCODE and Zenodo state exact size and md5, read before each transfer"
    return [*lines, "", total, note, "", *licenses(chosen)]


def pinned(source: Source) -> str:
    """How a download of it is checked, in words."""
    if source.zenodo or source.encode:
        return "md5 of the archive"
    return "sha256" if source.sha256 else "md5" if source.md5 else "unverified"


def download(
    chosen: Sequence[Source],
    services: Mapping[str, str],
    out: Path,
    resolve: Resolve,
    *,
    jobs: int,
    verify: bool,
    policy: Policy,
) -> None:
    """Ask the archives what lies behind ``chosen`` and fetch what is not there yet; says what was
    fetched and what could not be checked."""
    settled = set() if verify else recorded(out)
    remotes: list[Remote] = []
    waiting = [source for source in chosen if source.path not in settled]
    for source in progress(waiting, "asking the archives", unit="source"):
        remotes += resolve(source, services, policy)
    outcomes = download_all(remotes, out, jobs=jobs, policy=policy, verify=verify)
    _report(outcomes, out, len(chosen) - len(waiting))


def _report(outcomes: list[Outcome], out: Path, settled: int) -> None:
    fetched = [outcome for outcome in outcomes if outcome.fetched]
    size = sum(outcome.bytes for outcome in fetched)
    print(
        f"{len(fetched)} files fetched ({size:,} bytes), {len(outcomes) - len(fetched) + settled} "
        "were there already"
    )
    first = [outcome.path for outcome in outcomes if outcome.first]
    if first:
        print(
            f"not verified: no checksum was known for {len(first)} of them ({', '.join(first)}); "
            f"the sha256 of this first download is now in {out / LOCK_NAME}",
            file=sys.stderr,
        )
