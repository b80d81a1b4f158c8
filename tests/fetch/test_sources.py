"""The source table and `petriscope data paper` against a local server that answers as ENCODE and
Zenodo do."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest
import yaml

from petriscope.errors import UserError
from petriscope.fetch.download import LOCK_NAME
from petriscope.fetch.sources import Source
from petriscope.fetch.transfer import Policy
from petriscope.fetch.unpack import checkpoint_prefixes, extract, gunzip, index_bam
from petriscope.files import read_json
from petriscope.studies.chromatin.data import paper
from petriscope.studies.chromatin.data.archives import resolve
from petriscope.studies.chromatin.data.sources import GROUPS, load_sources
from petriscope.studies.chromatin.model.epibert import EpiBERT

QUICK = Policy(timeout=2.0, attempts=2, backoff=0.01)


class Server:
    """Paths and what they answer; counts the questions."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                body = outer.answers.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def encode_file(
        self, accession: str, suffix: str, body: bytes, **more: object
    ) -> dict[str, Any]:
        href = f"/files/{accession}/@@download/{accession}.{suffix}"
        self.answers[href] = body
        item = {
            "accession": accession,
            "href": href,
            "status": "released",
            "assembly": "GRCh38",
            "file_size": len(body),
            "md5sum": hashlib.md5(body).hexdigest(),
            "file_format": "bam" if suffix == "bam" else "bed",
            **more,
        }
        self.answers[f"/files/{accession}/?format=json"] = json.dumps(item).encode()
        return item

    def experiment(
        self, accession: str, files: list[dict[str, Any]], organism: str = "Homo sapiens"
    ) -> None:
        replicate = {"library": {"biosample": {"organism": {"scientific_name": organism}}}}
        body = {"accession": accession, "files": files, "replicates": [replicate]}
        self.answers[f"/experiments/{accession}/?format=json"] = json.dumps(body).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def source(**more: Any) -> Source:
    return Source(
        **{
            "id": "x",
            "group": "signal",
            "path": "x.bam",
            "licence": "l",
            "what": "w",
            "suffix": "bam",
            **more,
        }
    )


def find(server: Server, **more: Any) -> Any:
    return resolve(source(**more), {"encode": server.base, "zenodo": server.base}, QUICK)


def test_the_bundled_table_is_whole() -> None:
    table = load_sources()
    assert {s.group for s in table.sources} == set(GROUPS)
    conditions = {(b.lineage, b.context) for b in table.biosamples}
    assert conditions == {
        (line, c) for line in ("blood", "liver", "lymph") for c in ("in_vitro", "in_vivo")
    }
    for lineage, context in conditions:
        assert sum((b.lineage, b.context) == (lineage, context) for b in table.biosamples) >= 2
    assert "mouse" in table.excluded["ENCFF395WJI"]
    assert not any("ENCFF395WJI" in str(s) for s in table.sources)
    for s in table.sources:
        assert s.encode is None or re.fullmatch(
            r"ENC(FF|SR)\d{3}[A-Z]{3}|GRCh38_no_alt\w+\.15", s.encode
        )
        assert s.url is None or s.url.startswith("https://")
    assert any(s.zenodo == "14504049" for s in table.sources)


def test_the_dry_run_prints_bytes_licenses_and_what_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    paper.add_arguments(parser)
    assert paper.run(parser.parse_args(["--dry-run"])) == 0
    text = capsys.readouterr().out
    assert (
        "CC BY 4.0" in text
        and "1,339,860" in text
        and re.search(r"39 sources, about [\d,]+ bytes", text)
    )
    assert "is mouse" in text and "ENCFF077FBI" in text and "unknown size" in text
    paper.run(parser.parse_args(["--dry-run", "--only", "chromhmm", "gencode"]))
    text = capsys.readouterr().out
    assert "E123" in text and "GENCODE" in text and "ENCFF077FBI" not in text
    with pytest.raises(UserError, match=r"--only: knows no source or group 'chrohmm'.*chromhmm"):
        paper.run(parser.parse_args(["--dry-run", "--only", "chrohmm"]))
    with pytest.raises(UserError, match="--jobs: is 0"):
        paper.run(parser.parse_args(["--jobs", "0"]))


def test_an_encode_file_brings_its_size_and_md5(server: Server) -> None:
    server.encode_file("ENCFF000AAA", "bam", b"bam")
    (remote,) = find(server, encode="ENCFF000AAA")
    assert remote.url == f"{server.base}/files/ENCFF000AAA/@@download/ENCFF000AAA.bam"
    assert (remote.bytes, remote.md5) == (3, hashlib.md5(b"bam").hexdigest())
    server.encode_file("ENCFF000BBB", "bam", b"", assembly="mm10")
    with pytest.raises(UserError, match=r"x \(ENCFF000BBB\): is aligned to mm10, not GRCh38"):
        find(server, encode="ENCFF000BBB")
    server.encode_file("ENCFF000CCC", "bam", b"", status="revoked")
    with pytest.raises(UserError, match="is revoked, no longer released"):
        find(server, encode="ENCFF000CCC")
    with pytest.raises(UserError, match=r"ENCFF000DDD.*404"):
        find(server, encode="ENCFF000DDD")


def test_an_experiment_gives_its_best_file(server: Server) -> None:
    def bam(accession: str, replicates: list[int], **more: object) -> dict[str, Any]:
        more = {"output_type": "alignments", "biological_replicates": replicates, **more}
        return server.encode_file(accession, "bam", b"x", **more)

    files = [
        bam("ENCFF000AAB", [2], preferred_default=True, date_created="2022"),
        bam("ENCFF000AAC", [1], date_created="2020"),
        bam("ENCFF000AAD", [1], date_created="2021"),
        bam("ENCFF000AAE", [1], output_type="unfiltered alignments"),
        bam("ENCFF000AAF", [1], assembly="hg19"),
        bam("ENCFF000AAG", [1], status="archived"),
        bam("ENCFF000AAH", [1, 2]),
    ]
    server.experiment("ENCSR000AAA", files)
    assert find(server, encode="ENCSR000AAA")[0].url.endswith("ENCFF000AAD.bam")
    server.experiment(
        "ENCSR000AAD",
        [*files, bam("ENCFF000AAL", [1], date_created="2019", preferred_default=True)],
    )
    assert find(server, encode="ENCSR000AAD")[0].url.endswith("ENCFF000AAL.bam")
    peaks = [
        server.encode_file("ENCFF000AAJ", "bed.gz", b"x", output_type="pseudoreplicated peaks"),
        server.encode_file("ENCFF000AAK", "bed.gz", b"x", output_type="IDR thresholded peaks"),
    ]
    server.experiment("ENCSR000AAB", files + peaks)
    assert find(server, encode="ENCSR000AAB", suffix="bed.gz")[0].url.endswith("ENCFF000AAK.bed.gz")
    server.experiment("ENCSR000AAC", files[4:5])
    with pytest.raises(
        UserError, match=r"ENCSR000AAC.*no released GRCh38 file of alignments \(assemblies: hg19\)"
    ):
        find(server, encode="ENCSR000AAC")
    server.experiment("ENCSR366VBB", files, organism="Mus musculus")
    with pytest.raises(UserError, match="is Mus musculus, not Homo sapiens"):
        find(server, encode="ENCSR366VBB")


def test_a_zenodo_record_lists_its_files(server: Server) -> None:
    link = {"self": f"{server.base}/api/records/7/files/m.zip/content"}
    item = {"key": "m.zip", "size": 9, "checksum": "md5:abc", "links": link}
    server.answers["/api/records/7"] = json.dumps({"files": [item]}).encode()
    (remote,) = find(server, zenodo="7", path="model")
    assert (remote.path, remote.bytes, remote.md5) == ("model/m.zip", 9, "abc")
    server.answers["/api/records/8"] = json.dumps(
        {"files": [{**item, "key": "../../m.zip"}]}
    ).encode()
    with pytest.raises(UserError, match="leaves the data set's folder"):
        find(server, zenodo="8", path="model")
    server.answers["/api/records/9"] = b"<html>"
    with pytest.raises(UserError, match="not JSON"):
        find(server, zenodo="9", path="model")


def small_bam(folder: Path) -> bytes:
    path = folder / "small.bam"
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "chr1", "LN": 400}]}
    with pysam.AlignmentFile(str(path), "wb", header=header):
        pass
    return path.read_bytes()


def write_table(server: Server, folder: Path) -> Path:
    """A small table of every kind of source, and a server that has them."""
    bam = small_bam(folder)
    server.encode_file("GRCh38", "fasta.gz", gzip.compress(b">chr1\n" + b"ACGT" * 100 + b"\n"))
    server.encode_file("ENCFF000AAA", "bam", bam)
    server.experiment(
        "ENCSR000AAA",
        [
            server.encode_file(
                "ENCFF000AAB", "bam", bam, output_type="alignments", biological_replicates=[1]
            )
        ],
    )
    server.encode_file("ENCFF000AAC", "bed.gz", gzip.compress(b"chr1\t1\t9\n"))
    checkpoint = folder / "m.zip"
    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("model1/ckpt-45.index", b"i")
        archive.writestr("model1/ckpt-45.data-00000-of-00001", b"d")
    body = checkpoint.read_bytes()
    server.answers["/m.zip"] = body
    md5 = hashlib.md5(body).hexdigest()
    item = {
        "key": "m.zip",
        "size": len(body),
        "checksum": f"md5:{md5}",
        "links": {"self": f"{server.base}/m.zip"},
    }
    server.answers["/api/records/7"] = json.dumps({"files": [item]}).encode()
    for name in ("bl", "gtf", "go", "jaspar", "e1"):
        server.answers[f"/{name}"] = (
            gzip.compress(name.encode()) if name in ("bl", "gtf", "e1") else name.encode()
        )

    def url(name: str, group: str, path: str) -> dict[str, Any]:
        return {
            "id": name,
            "group": group,
            "path": path,
            "url": f"{server.base}/{path[-8:]}",
            "licence": "l",
            "what": "w",
            "checked": False,
        }

    entries = [
        {**url("blacklist", "genome", "genome/bl.gz"), "url": f"{server.base}/bl"},
        {**url("gencode", "annotation", "annotation/g.gtf.gz"), "url": f"{server.base}/gtf"},
        {**url("go", "annotation", "annotation/go.gmt"), "url": f"{server.base}/go"},
        {**url("jaspar", "motifs", "motifs/j.meme"), "url": f"{server.base}/jaspar"},
        {**url("archetypes", "motifs", "motifs/a.meme"), "url": f"{server.base}/jaspar"},
        {**url("E1", "chromhmm", "chromhmm/E1.bed.gz"), "url": f"{server.base}/e1"},
        {
            "id": "hg38",
            "group": "genome",
            "path": "genome/hg38.fa.gz",
            "unpack": "gzip",
            "encode": "GRCh38",
            "suffix": "fasta.gz",
            "licence": "l",
            "what": "w",
        },
        {
            "id": "weights",
            "group": "model",
            "path": "model",
            "zenodo": 7,
            "licence": "l",
            "what": "w",
        },
    ]
    common = {"lineage": "blood", "peaks": "ENCFF000AAC", "chromhmm": "E1"}
    biosamples = [
        {"id": "a", "context": "in_vitro", "donor": "d1", "signal": "ENCFF000AAA", **common},
        {"id": "b", "context": "in_vivo", "donor": "d2", "signal": "ENCSR000AAA", **common},
    ]
    services = {"encode": server.base, "zenodo": server.base}
    path = folder / "sources.yaml"
    path.write_text(
        yaml.safe_dump(
            {"format": 1, "services": services, "sources": entries, "biosamples": biosamples}
        )
    )
    return path


def test_the_whole_path_from_table_to_dataset(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = load_sources(write_table(server, tmp_path)), tmp_path / "paper"
    paper.fetch(table, table.select(["signal"]), out, policy=QUICK)
    assert (out / "signal/b.bam.bai").is_file() and not (out / "dataset.yaml").exists()
    assert "dataset.yaml is not written yet" in capsys.readouterr().out
    paper.fetch(table, table.sources, out, policy=QUICK)
    shown = capsys.readouterr()
    assert "9 files fetched" in shown.out and "2 were there already" in shown.out
    assert "not converted" in shown.err and "model1/ckpt-45" in shown.err
    assert "no checksum was known for 6" in shown.err and LOCK_NAME in shown.err
    assert (out / "genome/hg38.fa.fai").read_text() == "chr1\t400\t6\t400\t401\n"
    description = yaml.safe_load((out / "dataset.yaml").read_text())
    assert [b["id"] for b in description["biosamples"]] == ["a", "b"]
    named = [
        description["genome"]["fasta"][0],
        description["genome"]["blacklist"],
        description["annotation"]["genes"],
    ]
    named += [b[key] for b in description["biosamples"] for key in ("signal", "peaks", "chromhmm")]
    assert all((out / path).is_file() for path in named)
    lock = read_json(out / LOCK_NAME)
    assert lock["signal/a.bam"]["checked"] and not lock["annotation/go.gmt"]["checked"]
    before = len(server.asked)
    paper.fetch(table, table.select(list(GROUPS)[1:]), out, policy=QUICK)
    assert len(server.asked) == before, "a finished data set needs no network"
    assert not list(out.rglob("*.part*"))


def test_released_weights_become_safetensors(
    server: Server, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = load_sources(write_table(server, tmp_path)), tmp_path / "paper"
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        for file in (shared / "golden/epibert_small_ckpt").iterdir():
            archive.write(file, f"model1/{file.name}")
    server.answers["/m.zip"] = body = (tmp_path / "w.zip").read_bytes()
    item = {"key": "m.zip", "size": len(body), "links": {"self": f"{server.base}/m.zip"}}
    server.answers["/api/records/7"] = json.dumps({"files": [item]}).encode()
    paper.fetch(table, table.select(["model"]), out, policy=QUICK)
    target = out / "model/m.model1.safetensors"
    assert f"model.weights: {target}" in capsys.readouterr().out
    golden = np.load(shared / "golden/epibert_small.npz")
    assert (
        EpiBERT.from_safetensors(target).config.layers
        == json.loads(str(golden["config_json"]))["num_transformer_layers"]
    )
    before = target.stat().st_mtime_ns
    paper.fetch(table, table.select(["model"]), out, policy=QUICK)
    assert target.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "genomes"}, r"sources\[0\]\.group: is 'genomes'.*mean genome"),
        ({"url": None}, r"sources\[0\]: has no single address"),
        ({"encode": "ENCFF000AAA"}, r"sources\[0\]: has no single address"),
        ({"path": "../x"}, "leaves the data set's folder"),
        ({"what": ""}, r"sources\[0\]\.what: is missing"),
        ({"sha265": "x"}, r"sources\[0\]\.sha265: no such field"),
        ({"id": "go"}, "id 'go' appears twice"),
    ],
)
def test_a_wrong_table_is_refused(
    server: Server, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = write_table(server, tmp_path)
    raw = yaml.safe_load(path.read_text())
    raw["sources"][0] = {k: v for k, v in {**raw["sources"][0], **change}.items() if v is not None}
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=message):
        load_sources(path)


def test_an_excluded_file_cannot_come_back(server: Server, tmp_path: Path) -> None:
    path = write_table(server, tmp_path)
    raw = yaml.safe_load(path.read_text())
    raw["excluded"] = [{"id": "ENCFF000AAC", "why": "mouse"}]
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match="ENCFF000AAC is excluded: mouse"):
        load_sources(path)
    path.write_text("format: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_sources(path)
    path.write_text("format: 2")
    with pytest.raises(UserError, match="format 1"):
        load_sources(path)


def test_archives_that_reach_outside_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("../evil", b"x")
    with pytest.raises(UserError, match=r"z\.zip: member '\.\./evil' leaves the folder"):
        extract(tmp_path / "z.zip")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["z.zip"]
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match=r"bad\.zip: archive damaged"):
        extract(tmp_path / "bad.zip")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("../evil", tarfile.REGTYPE), ("/evil", tarfile.REGTYPE), ("a/../../evil", tarfile.REGTYPE)]
    + [
        ("inside", kind)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    ],
)
def test_a_tar_with_anything_but_files_below_it_is_refused(
    tmp_path: Path, name: str, kind: bytes
) -> None:
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("good"))
        bad = tarfile.TarInfo(name)
        bad.type, bad.linkname = kind, "/etc/passwd"
        tar.addfile(bad)
    with pytest.raises(UserError, match=r"t\.tar\.gz: unsafe member"):
        extract(tmp_path / "t.tar.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["t.tar.gz"]


def test_a_tar_is_unpacked_without_its_modes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        file = tarfile.TarInfo("folder/x")
        file.size, file.mode, file.uid = 3, 0o4777, 4321
        tar.addfile(file, io.BytesIO(b"abc"))
    written = extract(tmp_path / "t.tar") / "folder/x"
    assert written.read_bytes() == b"abc" and written.stat().st_mode & 0o7777 == 0o644
    assert written.stat().st_uid == os.getuid()


def test_damage_found_while_unpacking_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(b"ACGT" * 1000)[:-9])
    with pytest.raises(UserError, match=r"x\.fa\.gz: gzip damaged"):
        gunzip(tmp_path / "x.fa.gz")
    (tmp_path / "x.bam").write_bytes(b"\x1f\x8b not a bam")
    with pytest.raises(UserError, match=r"x\.bam: cannot be indexed"):
        index_bam(tmp_path / "x.bam")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.bam", "x.fa.gz"]
    assert checkpoint_prefixes(tmp_path) == []
