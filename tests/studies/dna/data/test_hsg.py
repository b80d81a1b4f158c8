"""`petriscope data hsg` against a local server that answers as Hugging Face, GitHub, UCSC and Zenodo
do, with files in their true formats: safetensors, a torch checkpoint, BED, gzipped FASTA, bigWig."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save

from petriscope.errors import UserError
from petriscope.fetch.download import LOCK_NAME
from petriscope.fetch.transfer import Policy
from petriscope.files import read_json
from petriscope.studies.dna.data import hsg
from petriscope.studies.dna.data.check import check_dataset
from petriscope.studies.dna.data.dataset import load_dataset
from petriscope.studies.dna.data.sources import load_sources

QUICK = Policy(timeout=2.0, attempts=2, backoff=0.01)
LIMIT = 100_000
"""Bytes after which a broken server closes the connection."""


class Server:
    """Paths and what they answer, with ranges; ``broken`` paths close the first time."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.ranges: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                body = outer.answers.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                first = 0
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                if asked and self.headers.get("If-Range") == '"v1"':
                    first = int(asked[1])
                    outer.ranges.append(self.path)
                self.send_response(206 if first else 200)
                if first:
                    self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
                self.send_header("ETag", '"v1"')
                self.send_header("Content-Length", str(len(body) - first))
                self.end_headers()
                cut = LIMIT if self.path in outer.broken else len(body)
                outer.broken.discard(self.path)
                self.wfile.write(body[first:][:cut])

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        serve = {"poll_interval": 0.01}
        threading.Thread(target=self.http.serve_forever, kwargs=serve, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def packed(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/").replace("_bed", ".bed"), body)
    return out.getvalue()


@pytest.fixture
def table(server: Server, tmp_path: Path) -> Path:
    """The bundled table with every address on the server, and every file there."""
    rng = np.random.default_rng(1)
    chroms = {name: "".join(rng.choice(list("ACGTacgt"), 3000)) for name in ("chr1", "chr22")}
    fasta = gzip.compress("".join(f">{n}\n{s}\n" for n, s in chroms.items()).encode(), mtime=0)
    saved = io.BytesIO()
    torch.save({"bias": torch.zeros(4), "encoder.weight": torch.zeros(8, 4)}, saved)
    beds = {
        "cisplatin_pos": "".join(f"chr1\t{i}\t{i + 100}\t.\t0\t-\n" for i in range(0, 1500, 120)),
        "cisplatin_neg_45k": "".join(
            f"chr22\t{i}\t{i + 600}\t.\t0\t+\n" for i in range(0, 1800, 610)
        ),
    }
    raw = yaml.safe_load(Path(load_sources().file).read_text())
    bodies = {
        "nt-v1-config": json.dumps({"vocab_size": 4105}).encode(),
        "nt-v1": save({"w": torch.arange(60_000, dtype=torch.float32)}),
        "sae-ef8-23": saved.getvalue(),
        "clusters": b"chrom\tstart\n",
        "noise": b"chrom\tstart\nx\t1\n",
        "elements": b"chr1\t1\t2\te\t0\t+\n",
        "genome": fasta,
    }
    for item in raw["sources"]:
        if item["id"] in bodies:
            body = bodies[item["id"]]
            server.answers[f"/{item['id']}"] = body
            item |= {"url": f"{server.base}/{item['id']}", "bytes": len(body)}
            item.pop("about", None)
            item.pop("md5", None)
            if "sha256" in item:
                item["sha256"] = hashlib.sha256(body).hexdigest()
    beds_zip = packed(**{f"data__A2780__{name}_bed": text.encode() for name, text in beds.items()})
    server.answers["/files/beds.zip"] = beds_zip
    item = {
        "key": "beds.zip",
        "size": len(beds_zip),
        "checksum": "md5:" + hashlib.md5(beds_zip).hexdigest(),
        "links": {"self": f"{server.base}/files/beds.zip"},
    }
    server.answers["/api/records/20073353"] = json.dumps({"files": [item]}).encode()
    raw["services"]["zenodo"] = server.base
    file = tmp_path / "sources.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def bring(table: Path, out: Path, *only: str, verify: bool = False) -> None:
    found = load_sources(table)
    hsg.fetch(found, found.select(only), out, policy=QUICK, verify=verify)


def test_everything_is_fetched_and_is_a_data_set(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hsg"
    bring(table, out)
    said = capsys.readouterr()
    assert "CC BY-NC-SA 4.0, non-commercial" in said.out
    assert "not verified: no checksum was known for" in said.err
    assert "weights/500m-human-ref/model.safetensors" in said.err and "clusters" not in said.err
    assert f"set model.weights: {out / 'weights' / '500m-human-ref'}" in said.out
    weights = load_file(out / "weights" / "500m-human-ref" / "model.safetensors")
    assert weights["w"].shape == (60_000,)
    dataset = load_dataset(out)
    assert dataset.sequences.label.value_counts().to_dict() == {"binding": 13, "nonbinding": 3}
    assert dataset.lengths is not None and not dataset.lengths.overlap  # the published confound
    assert not check_dataset(dataset).faults
    assert dataset.contigs is not None and dataset.contigs.name == "chr22.fa"
    lock = read_json(out / LOCK_NAME)
    assert lock["tables/noise_sequences.tsv"]["checked"]
    assert lock["record/beds.zip"]["checked"]
    assert not lock["weights/500m-human-ref/model.safetensors"]["checked"]
    bring(table, out)
    assert "0 files fetched" in capsys.readouterr().out


def test_an_interrupted_transfer_goes_on_where_it_stopped(
    server: Server, table: Path, tmp_path: Path
) -> None:
    server.broken.add("/nt-v1")
    bring(table, tmp_path / "hsg", "nt-v1")
    assert server.ranges == ["/nt-v1"]
    body = (tmp_path / "hsg" / "weights" / "500m-human-ref" / "model.safetensors").read_bytes()
    assert body == server.answers["/nt-v1"]


def test_a_file_with_another_checksum_is_refused_and_leaves_nothing(
    server: Server, table: Path, tmp_path: Path
) -> None:
    server.answers["/noise"] = server.answers["/noise"][::-1]
    with pytest.raises(UserError, match=r"noise_sequences\.tsv: sha256 is .* should give"):
        bring(table, tmp_path / "hsg", "noise")
    here = {path.name for path in (tmp_path / "hsg" / "tables").iterdir()}
    assert not here & {"noise_sequences.tsv", "noise_sequences.tsv.part"}
    server.answers["/files/beds.zip"] = server.answers["/files/beds.zip"][:-1] + b"x"
    with pytest.raises(UserError, match=r"beds\.zip: md5 is"):
        bring(table, tmp_path / "hsg", "record")


def test_weights_that_changed_since_the_first_download_are_refused(
    server: Server, table: Path, tmp_path: Path
) -> None:
    bring(table, tmp_path / "hsg", "nt-v1-config")
    (tmp_path / "hsg" / "weights" / "500m-human-ref" / "config.json").unlink()
    server.answers["/nt-v1-config"] = b'{"vocab_size": 4107}'
    with pytest.raises(UserError, match=r"records .* from the first"):
        bring(table, tmp_path / "hsg", "nt-v1-config")


def test_what_is_missing_is_said(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(table, tmp_path / "hsg", "tables")
    said = capsys.readouterr().out
    assert "there is no cisplatin_pos.bed, no cisplatin_neg_45k.bed, no genome" in said
    assert not (tmp_path / "hsg" / "dataset.yaml").exists()


def test_the_dry_run_says_what_cannot_be_verified(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    hsg.add_arguments(parser)
    assert hsg.run(parser.parse_args(["--dry-run"])) == 0
    said = capsys.readouterr().out
    (line,) = (one for one in said.splitlines() if "weights of form v1" in one)
    assert "unverified" in line and "b75f5b52d1da341191a10f401f60c4131d560394" in line
    assert "left out (name them with --only): conservation, sae, weights-v2" in said


def test_the_bundled_table_is_pinned() -> None:
    for source in load_sources().sources:
        if source.url and "raw.githubusercontent" in source.url:
            assert "/05bb746589390a074fbb4e121bdc3425c50b8d83/" in source.url and source.sha256
        if source.url and "huggingface" in source.url:
            assert re.search(r"/resolve/[0-9a-f]{40}/", source.url)
            assert "non-commercial" in source.licence
        assert source.url is None or source.url.startswith("https://")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sha": "x"}, "sources[0].sha: no such field. Did you mean sha256?"),
        ({"url": None}, "sources[0]: has no single address"),
        ({"what": ""}, "sources[0].what: is missing"),
        ({"checked": True}, "sources[0].checked: says otherwise"),
        ({"path": "../x"}, "leaves the data set's folder"),
        ({"id": "nt-v1"}, "id 'nt-v1' appears twice"),
    ],
)
def test_a_table_that_cannot_be(table: Path, change: dict[str, Any], words: str) -> None:
    raw = yaml.safe_load(table.read_text())
    raw["sources"][0] |= change
    table.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError) as caught:
        load_sources(table)
    assert words in str(caught.value)


def test_an_unknown_group(table: Path) -> None:
    with pytest.raises(UserError, match=r"--only: knows no source or group 'wights'.*weights"):
        load_sources(table).select(["wights"])
