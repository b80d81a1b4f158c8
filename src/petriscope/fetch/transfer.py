"""One file is transferred over HTTP into a part file: the transfer goes on after a cut, retries,
and refuses a page in place of data."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petriscope import __version__
from petriscope.errors import UserError

NETWORK = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)
RETRIED = (408, 425, 429, 500, 502, 503, 504)
MAGIC = {
    ".gz": (b"\x1f\x8b",),
    ".bam": (b"\x1f\x8b",),
    ".bigWig": (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26"),
    ".zip": (b"PK",),
}
PROGRESS_RESETS = 1 << 20
"""Bytes after which a transfer counts as moving again, so that its retries start afresh."""


class Stopped(Exception):
    """The run was interrupted; the part stays for the next one."""


@dataclass(frozen=True)
class Policy:
    """How patient a transfer is: seconds without a byte, attempts without progress, first wait
    (doubling to 60 s)."""

    timeout: float = 30.0
    attempts: int = 6
    backoff: float = 1.0


@dataclass(frozen=True)
class Watch:
    """Who watches a transfer: ``stop`` ends it, ``advance`` hears of bytes, ``announce`` of the
    size once known."""

    stop: threading.Event
    advance: Callable[[int], None]
    announce: Callable[[int], None]


class _Again(Exception):
    """Worth another attempt; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


def stream(
    url: str, part: Path, policy: Policy, watch: Watch, *, expected: int | None = None
) -> bool:
    """Bring ``url`` into ``part``, whole. Returns True where an earlier part was continued.

    Continues only with a validator (strong ETag or Last-Modified) through Range and If-Range, so
    that two versions are never joined. Raises `UserError` for a refusal, a page in place of data, a
    size other than ``expected``, or no progress in ``policy.attempts``; `Stopped` when
    ``watch.stop`` is set.
    """
    resumed, failures, told = False, 0, 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        if told == 0 and before:
            watch.advance(before)
            told = before
        try:
            resumed |= _attempt(url, part, policy, watch, expected=expected, told=told)
            return resumed
        except _Again as error:
            size = part.stat().st_size if part.is_file() else 0
            failures = 0 if size - before >= PROGRESS_RESETS else failures + 1
            told = size
            if failures >= policy.attempts:
                remedy = (
                    "Check the network and run the same command again: it goes on where it stopped."
                )
                raise UserError(
                    f"gave up after {failures} attempts: {error}", field=url, remedy=remedy
                ) from None
            if watch.stop.wait(
                max(error.wait, min(60.0, policy.backoff * 2 ** max(0, failures - 1)))
            ):
                raise Stopped from None


def _attempt(
    url: str, part: Path, policy: Policy, watch: Watch, *, expected: int | None, told: int
) -> bool:
    """One request. Returns True where it continued an earlier part; raises `_Again` where another
    may do better.

    ``told`` is the number of bytes of this file that ``watch`` has heard of.
    """
    note = part.with_name(part.name + ".json")
    offset, validator = _resume_point(part, note, url)
    headers = {"User-Agent": f"petriscope/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=policy.timeout
        ) as reply:
            continued = reply.status == http.client.PARTIAL_CONTENT
            if continued and _range_start(reply) != offset:
                part.unlink()
                raise _Again("the server answered another range than asked for")
            if not continued:
                offset = 0
            length = reply.headers.get("Content-Length")
            total = offset + int(length) if length and length.isdigit() else None
            _check_head(reply, url, total, expected)
            if total is not None:
                watch.announce(total)
            note.write_text(
                json.dumps({"url": url, "validator": _validator(reply)}), encoding="utf-8"
            )
            with part.open("ab" if continued else "wb") as out:
                watch.advance(offset - told)
                while chunk := reply.read1(1 << 18):  # what has come, so that a stall loses nothing
                    out.write(chunk)
                    out.flush()
                    watch.advance(len(chunk))
                    if watch.stop.is_set():
                        raise Stopped
            size = part.stat().st_size
            if total is not None and size < total:
                raise _Again(f"the connection closed after {size} of {total} bytes")
            return continued
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            raise _Again("the part is longer than the file: starting over") from None
        if error.code in RETRIED:
            asked = error.headers.get("Retry-After", "")
            wait = min(float(asked), 60.0) if asked.isdigit() else 0.0
            raise _Again(f"the server answered {error.code} {error.reason}", wait) from None
        remedy = "Check the address against the source's own page."
        raise UserError(
            f"the server answered {error.code} {error.reason}", field=url, remedy=remedy
        ) from None
    except NETWORK as error:
        raise _Again(str(getattr(error, "reason", None) or error or type(error).__name__)) from None


def fetch_json(url: str, policy: Policy) -> Any:
    """The JSON document at ``url`` (metadata of an archive), with the same retries."""
    for attempt in range(policy.attempts):
        try:
            headers = {"User-Agent": f"petriscope/{__version__}", "Accept": "application/json"}
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=policy.timeout
            ) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            error.close()
            why = f"the server answered {error.code} {error.reason}"
            if error.code not in RETRIED:
                remedy = "Check the accession on the archive's own page."
                raise UserError(why, field=url, remedy=remedy) from None
        except NETWORK as error:
            why = str(getattr(error, "reason", None) or error or type(error).__name__)
        except ValueError:
            raise UserError(
                "answered something that is not JSON", field=url, remedy="Try again later."
            ) from None
        threading.Event().wait(min(60.0, policy.backoff * 2**attempt))
    remedy = "Check the network and run the same command again."
    raise UserError(f"gave up after {policy.attempts} attempts: {why}", field=url, remedy=remedy)


def digests(path: Path) -> dict[str, str]:
    """sha256 and md5 of a file, in one reading."""
    kinds = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            for digest in kinds.values():
                digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in kinds.items()}


def looks_wrong(part: Path, name: str) -> str | None:
    """What is wrong with the first bytes for a file called ``name``: a web page, or not the format
    its suffix says."""
    with part.open("rb") as handle:
        head = handle.read(512)
    if not head:
        return "the server sent an empty file"
    if Path(name).suffix not in (".html", ".htm") and head.lstrip()[:15].lower().startswith(
        (b"<!doctype html", b"<html")
    ):
        return "the server sent a web page (HTML) in place of data"
    wanted = MAGIC.get(Path(name).suffix)
    if wanted and not head.startswith(wanted):
        return f"what the server sent is not a {Path(name).suffix} file"
    return None


def _resume_point(part: Path, note: Path, url: str) -> tuple[int, str]:
    """Bytes already here and the validator that lets them be continued; (0, "") where they cannot
    be."""
    if not (part.is_file() and note.is_file()):
        return 0, ""
    try:
        kept = json.loads(note.read_text(encoding="utf-8"))
    except ValueError:
        return 0, ""
    validator = str(kept.get("validator") or "") if kept.get("url") == url else ""
    return (part.stat().st_size, validator) if validator else (0, "")


def _validator(reply: Any) -> str:
    """A strong ETag, else Last-Modified, else nothing."""
    etag = reply.headers.get("ETag", "")
    return etag if etag.startswith('"') else str(reply.headers.get("Last-Modified", ""))


def _range_start(reply: Any) -> int:
    """First byte of a partial answer, −1 where the server does not say."""
    value = reply.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    return int(value) if value.isdigit() else -1


def _check_head(reply: Any, url: str, total: int | None, expected: int | None) -> None:
    kind = reply.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml") and not url.endswith((".html", ".htm")):
        what = "the server sent a web page (HTML) in place of data"
        raise UserError(
            what,
            field=url,
            remedy="Check the address; it may need a license accepted or have moved.",
        )
    if expected is not None and total is not None and total != expected:
        what = f"the server offers {total} bytes where {expected} are expected"
        raise UserError(what, field=url, remedy="The source changed: check its own page.")
