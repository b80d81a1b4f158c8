"""Downloads against a local HTTP server that cuts connections, changes files, stalls, refuses and
sends web pages."""

from __future__ import annotations

import _thread
import gzip
import hashlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from petriscope.errors import UserError
from petriscope.fetch.download import LOCK_NAME, Remote, download_all
from petriscope.fetch.transfer import Policy
from petriscope.files import read_json, write_json

QUICK = Policy(timeout=0.5, attempts=3, backoff=0.01)
DATA = np.random.default_rng(0).bytes(300_000)
SHA, MD5 = hashlib.sha256(DATA).hexdigest(), hashlib.md5(DATA).hexdigest()


@dataclass
class Site:
    """What the server does: content and tag per path, and how often it misbehaves."""

    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    stalls: dict[str, int] = field(default_factory=dict)
    ranges: bool = True
    delay: float = 0.0
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    busy: int = 0
    most: int = 0
    base: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, path = self.site, self.path
        site.asked.append((path, self.headers.get("Range")))
        if site.statuses.get(path):
            self.send_response(site.statuses[path].pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path not in site.files:
            self.send_error(404)
            return
        self.answer(site.files[path], site.tags.get(path, '"1"'))

    def answer(self, body: bytes, tag: str) -> None:
        site, path, start = self.site, self.path, 0
        site.busy += (
            1  # who is answered may ask again before this thread goes on, who waits may not
        )
        site.most = max(site.most, site.busy)
        time.sleep(site.delay)
        site.busy -= 1
        wanted = self.headers.get("Range")
        if wanted and site.ranges and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", site.kinds.get(path, "application/octet-stream"))
        if tag:
            self.send_header("ETag", tag)
        self.end_headers()
        if site.cuts.get(path, 0) > 0:
            site.cuts[path] -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if site.stalls.get(path, 0) > 0:
            site.stalls[path] -= 1
            self.wfile.write(body[:1000])
            self.wfile.flush()
            time.sleep(1.0)
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site({"/a": DATA})
    handler = type("Bound", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    site.base = f"http://127.0.0.1:{server.server_port}"
    yield site
    server.shutdown()
    server.server_close()


def only(folder: Path) -> list[str]:
    """Names of the files in ``folder``, without the run's own."""
    return sorted(
        str(p.relative_to(folder))
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".download.lock"
    )


def test_a_file_arrives_whole_and_is_recorded(site: Site, tmp_path: Path) -> None:
    (outcome,) = download_all(
        [Remote("d/a", f"{site.base}/a", sha256=SHA, bytes=len(DATA))], tmp_path, policy=QUICK
    )
    assert (tmp_path / "d/a").read_bytes() == DATA
    assert outcome == ("d/a", len(DATA), SHA, True, False)
    assert only(tmp_path) == ["d/a", LOCK_NAME]
    record = {"url": f"{site.base}/a", "bytes": len(DATA), "sha256": SHA, "checked": True}
    assert read_json(tmp_path / LOCK_NAME) == {"d/a": record}
    (again,) = download_all([Remote("d/a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert not again.fetched and len(site.asked) == 1


def test_a_cut_connection_is_continued_with_a_range(site: Site, tmp_path: Path) -> None:
    site.cuts["/a"] = 2
    download_all([Remote("a", f"{site.base}/a", md5=MD5)], tmp_path, policy=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA
    assert [asked for _, asked in site.asked] == [None, "bytes=150000-", "bytes=225000-"]


def test_an_interrupted_run_is_continued_by_the_next(site: Site, tmp_path: Path) -> None:
    site.cuts["/a"] = 3
    with pytest.raises(
        UserError,
        match=r"gave up after 3 attempts: the connection closed after \d+ of 300000 bytes",
    ):
        download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert not (tmp_path / "a").exists() and (tmp_path / "a.part").stat().st_size == 262_500
    download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert site.asked[-1][1] == "bytes=262500-" and (tmp_path / "a").read_bytes() == DATA
    assert only(tmp_path) == ["a", LOCK_NAME]


def test_a_file_that_changed_in_between_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.cuts["/a"] = 3
    with pytest.raises(UserError):
        download_all([Remote("a", f"{site.base}/a")], tmp_path, policy=QUICK)
    site.files["/a"], site.tags["/a"] = DATA[::-1], '"2"'
    download_all([Remote("a", f"{site.base}/a")], tmp_path, policy=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA[::-1]


def test_a_spoilt_part_is_thrown_away_and_fetched_once_more(site: Site, tmp_path: Path) -> None:
    site.cuts["/a"] = 3
    with pytest.raises(UserError):
        download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    part = tmp_path / "a.part"
    part.write_bytes(b"x" + part.read_bytes()[1:])
    download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA
    assert [asked for _, asked in site.asked[-2:]] == ["bytes=262500-", None]


@pytest.mark.parametrize("tag", ["", 'W/"1"'])
def test_without_a_strong_validator_or_ranges_it_starts_over(
    site: Site, tmp_path: Path, tag: str
) -> None:
    site.cuts["/a"], site.tags["/a"] = 1, tag
    download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert [asked for _, asked in site.asked] == [None, None]
    site.ranges, site.cuts["/a"], site.tags["/a"] = False, 1, '"1"'
    download_all([Remote("b", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert (tmp_path / "b").read_bytes() == DATA


def test_a_part_longer_than_the_file_starts_over(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(DATA + b"more")
    write_json(tmp_path / "a.part.json", {"url": f"{site.base}/a", "validator": '"1"'})
    download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_is_refused_and_nothing_is_kept(
    site: Site, tmp_path: Path, kind: str
) -> None:
    wrong = Remote("a", f"{site.base}/a", **{kind: "0" * 64})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"a: {kind} is [0-9a-f]+, but http.*/a should give 000"):
        download_all([wrong], tmp_path, policy=QUICK)
    assert only(tmp_path) in ([], ["a.part.json"]) and len(site.asked) == 1


def test_an_unknown_checksum_is_recorded_and_then_held_to(site: Site, tmp_path: Path) -> None:
    remote = Remote("a", f"{site.base}/a")
    (outcome,) = download_all([remote], tmp_path, policy=QUICK)
    assert outcome.first and read_json(tmp_path / LOCK_NAME)["a"]["checked"] is False
    (tmp_path / "a").unlink()
    site.files["/a"] = DATA[:-1] + b"?"
    with pytest.raises(
        UserError, match=rf"but {LOCK_NAME} records {SHA} from the first download.*delete its entry"
    ):
        download_all([remote], tmp_path, policy=QUICK)
    assert not (tmp_path / "a").exists()


def test_a_damaged_file_on_disk_is_noticed(site: Site, tmp_path: Path) -> None:
    remote = Remote("a", f"{site.base}/a", sha256=SHA)
    download_all([remote], tmp_path, policy=QUICK)
    (tmp_path / "a").write_bytes(DATA[::-1])
    assert not download_all([remote], tmp_path, policy=QUICK)[0].fetched, (
        "same size: only --verify reads it"
    )
    with pytest.raises(UserError, match=r"a: sha256 is .*Delete it"):
        download_all([remote], tmp_path, policy=QUICK, verify=True)
    (tmp_path / "a").write_bytes(DATA[:-1])
    with pytest.raises(UserError, match=r"a: sha256 is"):
        download_all([remote], tmp_path, policy=QUICK)


def test_a_web_page_in_place_of_data_is_refused(site: Site, tmp_path: Path) -> None:
    page = b"<!DOCTYPE html><html>log in</html>"
    site.files |= {"/p": page, "/q": page, "/r": b"not gzip", "/e": b""}
    site.kinds["/p"] = "text/html; charset=utf-8"
    for name, path, message in (
        ("x.tsv", "/p", r"/p: the server sent a web page \(HTML\) in place of data"),
        ("x.tsv", "/q", r"x\.tsv: .*the server sent a web page"),
        ("x.gz", "/r", r"x\.gz: .*is not a \.gz file"),
        ("x.tsv", "/e", r"the server sent an empty file"),
    ):
        with pytest.raises(UserError, match=message):
            download_all([Remote(name, site.base + path)], tmp_path, policy=QUICK)
        assert not (tmp_path / name).exists() and not (tmp_path / f"{name}.part").exists()


def test_404_is_final_and_the_others_still_arrive(site: Site, tmp_path: Path) -> None:
    site.files["/b.gz"] = gzip.compress(b"b")
    remotes = [
        Remote("no", f"{site.base}/no"),
        Remote("a", f"{site.base}/a"),
        Remote("b.gz", f"{site.base}/b.gz"),
    ]
    with pytest.raises(UserError, match=r"/no: the server answered 404 Not Found"):
        download_all(remotes, tmp_path, policy=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA and (tmp_path / "b.gz").is_file()
    assert [path for path, _ in site.asked].count("/no") == 1
    with pytest.raises(UserError, match=r"404 .*\(1 more failed\)"):
        download_all([remotes[0], Remote("no2", f"{site.base}/no2")], tmp_path, policy=QUICK)


def test_busy_and_slow_servers_are_waited_for(site: Site, tmp_path: Path) -> None:
    site.statuses["/a"] = [503, 429]
    download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    site.stalls["/a"] = 1
    download_all([Remote("b", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert (tmp_path / "b").read_bytes() == DATA and site.asked[-1][1] == "bytes=1000-"
    site.statuses["/a"] = [500] * 9
    with pytest.raises(UserError, match=r"/a: gave up after 3 attempts: the server answered 500"):
        download_all([Remote("c", f"{site.base}/a")], tmp_path, policy=QUICK)


def test_nobody_listening_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"http://127\.0\.0\.1:9/x: gave up after 3 attempts.*Check the network"
    ):
        download_all([Remote("x", "http://127.0.0.1:9/x")], tmp_path, policy=QUICK)


def test_an_unexpected_size_is_refused_before_the_transfer(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="offers 300000 bytes where 5 are expected"):
        download_all([Remote("a", f"{site.base}/a", bytes=5)], tmp_path, policy=QUICK)


def test_several_at_a_time(site: Site, tmp_path: Path) -> None:
    site.files |= {f"/{i}": bytes([65 + i]) * 50_000 for i in range(8)}
    site.delay = 0.1
    remotes = [Remote(str(i), f"{site.base}/{i}") for i in range(8)]
    outcomes = download_all(remotes, tmp_path, jobs=4, policy=QUICK)
    assert 2 <= site.most <= 4
    assert [o.path for o in outcomes] == [str(i) for i in range(8)]
    assert all((tmp_path / str(i)).read_bytes() == site.files[f"/{i}"] for i in range(8))
    assert len(read_json(tmp_path / LOCK_NAME)) == 8


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\b", "C:/x", ""])
def test_destinations_outside_the_folder_are_refused(path: str) -> None:
    with pytest.raises(UserError, match="leaves the data set's folder"):
        Remote(path, "http://example.org/x")


def test_links_out_of_the_folder_and_other_schemes_are_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    with pytest.raises(UserError, match="a link leads out"):
        download_all([Remote("link/a", f"{site.base}/a")], tmp_path / "in", policy=QUICK)
    assert only(tmp_path / "out") == []
    with pytest.raises(UserError, match="not an http or https address"):
        Remote("x", "file:///etc/passwd")
    with pytest.raises(UserError, match="two sources write a"):
        download_all([Remote("a", "http://x/1"), Remote("a", "http://x/2")], tmp_path, policy=QUICK)


def test_a_full_disk_stops_everything_and_keeps_what_is_finished(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("petriscope.fetch.download.stream", full)
    with pytest.raises(OSError, match="No space left"):
        download_all(
            [Remote("a", f"{site.base}/a"), Remote("b", f"{site.base}/a")],
            tmp_path,
            jobs=1,
            policy=QUICK,
        )
    assert site.asked == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, also where the test run itself was started with interrupts ignored (in the
    background)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_at_once_and_keeps_the_part(site: Site, tmp_path: Path) -> None:
    site.stalls["/a"] = 1
    threading.Timer(0.4, _thread.interrupt_main).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        download_all(
            [Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=Policy(timeout=20.0)
        )
    assert time.monotonic() - begin < 10, "it does not wait for the stalled server"
    assert not (tmp_path / "a").exists() and (tmp_path / "a.part").stat().st_size == 1_000
    download_all([Remote("a", f"{site.base}/a", sha256=SHA)], tmp_path, policy=QUICK)
    assert (tmp_path / "a").read_bytes() == DATA


def test_two_runs_do_not_write_to_one_folder(site: Site, tmp_path: Path) -> None:
    site.delay = 0.5
    other = threading.Thread(target=download_all, args=([Remote("a", f"{site.base}/a")], tmp_path))
    other.start()
    while not site.asked:
        time.sleep(0.01)
    with pytest.raises(UserError, match="another download is writing to this folder"):
        download_all([Remote("a", f"{site.base}/a")], tmp_path)
    other.join()
    assert (tmp_path / "a").read_bytes() == DATA
