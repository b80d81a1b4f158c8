"""`petriscope data cells-models` against a local server that answers as Hugging Face and GitHub do,
with files in their true formats: pickled dictionaries with scalars of NumPy 1, a JSON vocabulary,
safetensors; and scGPT's checkpoint in a folder, as its authors lay it out."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from cells_door_toy import ENSEMBL, SYMBOLS, G, toy_counts, write_h5ad

from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.fetch import verb
from petriscope.fetch.download import LOCK_NAME
from petriscope.fetch.transfer import Policy
from petriscope.files import read_json
from petriscope.studies.cells.data.vocabulary import BinVocabulary, RankVocabulary
from petriscope.studies.cells.fetch import models
from petriscope.studies.cells.fetch.dictionaries import Dictionaries, RankTables, read_dictionary
from petriscope.studies.cells.fetch.sources import load_sources
from petriscope.studies.cells.model.geneformer import Geneformer, GeneformerConfig
from petriscope.studies.cells.model.scgpt import ScGPT, ScGPTConfig
from petriscope.studies.cells.model.weights import load_checkpoint, save_model, their_weights

QUICK = Policy(timeout=2.0, attempts=2, backoff=0.01)
LIMIT = 20_000
"""Bytes after which a broken server closes the connection."""
SIZE: dict[str, int] = {"layers": 2, "d_model": 24, "heads": 3, "ffn": 40}
SPECIAL = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3}


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


def pickled(found: Mapping[str, Any], protocol: int = 4) -> bytes:
    """As the official files are: protocol 4, scalars under the names of NumPy 1."""
    body = pickle.dumps(dict(found), protocol)
    if protocol != 4:
        return body
    one = body.replace(b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray")
    (frame,) = struct.unpack("<Q", one[3:11])  # these are small enough to have a single one
    return one[:3] + struct.pack("<Q", frame - (len(body) - len(one))) + one[11:]


def medians() -> np.ndarray:
    return np.random.default_rng(1).lognormal(0, 0.5, G)


def official() -> dict[str, bytes]:
    """The four dictionaries of `G` genes by id in the table of sources: symbols and old names in
    upper case lead to ids, some of which have no token."""
    order = np.random.default_rng(2).permutation(G)
    other = {f"OLD{i}": name for i, name in enumerate(ENSEMBL)} | {"LOST": "ENSG00000099999"}
    return {
        "geneformer-tokens": pickled(SPECIAL | {ENSEMBL[g]: 4 + i for i, g in enumerate(order)}),
        "geneformer-medians": pickled(dict(zip(ENSEMBL, medians(), strict=True)) | {"ENSG9": np.float64(1)}),
        "geneformer-names": pickled(dict(zip(SYMBOLS, ENSEMBL, strict=True)) | {"LOST": "ENSG00000099999"}),
        "geneformer-aliases": pickled(
            {name: name for name in ENSEMBL} | dict(zip(SYMBOLS, ENSEMBL, strict=True)) | other
        ),
    }  # fmt: skip


def geneformer() -> Geneformer:
    return Geneformer(GeneformerConfig(G + 4, **SIZE, tokens=64), 1)


@pytest.fixture
def table(server: Server, tmp_path: Path) -> Path:
    """The bundled table with every address on the server, and every file there."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    save_model(geneformer(), checkpoint)
    bodies = official() | {
        "scgpt-vocabulary": json.dumps({s: i for i, s in enumerate(SYMBOLS)}).encode(),
        "geneformer-316m-config": (checkpoint / "config.json").read_bytes(),
        "geneformer-316m": (checkpoint / "model.safetensors").read_bytes(),
    }
    raw = yaml.safe_load(load_sources().file.read_text())
    for item in raw["sources"]:
        item["url"] = f"{server.base}/{item['id']}"
        if item["id"] in bodies:
            body = bodies[item["id"]]
            server.answers[f"/{item['id']}"] = body
            item["bytes"] = len(body)
            if "sha256" in item:
                item["sha256"] = hashlib.sha256(body).hexdigest()
    file = tmp_path / "sources.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def bring(table: Path, out: Path, *only: str, **options: Any) -> None:
    found = load_sources(table)
    models.fetch(found, found.select(only), verb.claimed(out), policy=QUICK, **options)


def scgpt_folder(folder: Path, vocabulary: int = G + 3) -> Path:
    """scGPT's checkpoint as its authors lay it out."""
    folder.mkdir(parents=True)
    model = ScGPT(ScGPTConfig(vocabulary, **SIZE), 1)
    save_model(model, folder)
    (folder / "model.safetensors").unlink()
    torch.save(their_weights(model), folder / "best_model.pt")
    names = [*SYMBOLS, "<pad>", "<cls>", "<eoc>"]
    (folder / "vocab.json").write_text(json.dumps({s: i for i, s in enumerate(names)}))
    return folder


def test_everything_is_fetched_and_is_what_a_data_set_and_params_take(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "models"
    bring(table, out)
    said = capsys.readouterr()
    assert "Apache-2.0" in said.out and "MIT" in said.out
    assert "not verified: no checksum was known for 2 of them" in said.err
    assert "geneformer/V2-316M/model.safetensors" in said.err and ".pkl" not in said.err
    assert "scGPT's weights (whole-human) lie on a Google Drive" in said.out
    weights = out / "geneformer" / "V2-316M"
    assert f"set geneformer.weights: {weights}" in said.out
    ours = geneformer().state_dict()
    for name, value in load_checkpoint(weights).state_dict().items():
        assert torch.equal(value, ours[name])
    tokens, aliases = (out / "vocabularies" / f"{n}.tsv.gz" for n in ("geneformer", "aliases"))
    known = RankVocabulary.load(tokens, aliases)
    assert (known.pad, known.mask, known.cls, known.eos, len(known)) == (0, 1, 2, 3, G + 4)
    assert dict(zip(known.ensembl, known.median)) == dict(zip(ENSEMBL, medians()))
    assert dict(zip(known.ensembl, known.symbol)) == dict(zip(ENSEMBL, SYMBOLS))
    given = pickle.loads(official()["geneformer-tokens"])
    assert dict(zip(known.ensembl, known.token)) == {e: given[e] for e in ENSEMBL}
    assert known.aliases == {**{s: e for s, e in zip(SYMBOLS, ENSEMBL)}, **{f"OLD{i}": e for i, e in enumerate(ENSEMBL)}}  # fmt: skip
    bins = BinVocabulary.load(out / "vocabularies" / "scgpt.json")
    assert (bins.pad, bins.cls, len(bins)) == (G, G + 1, G + 3)
    lock = read_json(out / LOCK_NAME)
    assert lock["official/token_dictionary_gc104M.pkl"]["checked"]
    assert not lock["geneformer/V2-316M/model.safetensors"]["checked"]
    # the line that it says makes a data set
    (line,) = (one for one in said.out.splitlines() if one.startswith("to use the vocabularies"))
    options = line.partition("data cells ")[2].removesuffix(" --from FILE OUT").split()
    cells = write_h5ad(tmp_path / "cells.h5ad", toy_counts())
    assert not main(["data", "cells", "--from", str(cells), *options, str(tmp_path / "set")])
    before = {path: path.read_bytes() for path in (tokens, aliases)}
    capsys.readouterr()
    bring(table, out)
    assert "0 files fetched" in capsys.readouterr().out
    assert before == {path: path.read_bytes() for path in (tokens, aliases)}


def test_an_interrupted_transfer_goes_on_where_it_stopped(
    server: Server, table: Path, tmp_path: Path
) -> None:
    server.broken.add("/geneformer-316m")
    bring(table, tmp_path / "models", "weights")
    assert server.ranges == ["/geneformer-316m"]
    body = (tmp_path / "models" / "geneformer" / "V2-316M" / "model.safetensors").read_bytes()
    assert body == server.answers["/geneformer-316m"]


def test_a_first_fetch_that_failed_may_be_run_again(
    server: Server, table: Path, tmp_path: Path
) -> None:
    body = server.answers.pop("/scgpt-vocabulary")
    with pytest.raises(UserError, match="404"):
        bring(table, tmp_path / "models", "scgpt-vocabulary")
    server.answers["/scgpt-vocabulary"] = body
    bring(table, tmp_path / "models", "scgpt-vocabulary")
    assert (tmp_path / "models" / "vocabularies" / "scgpt.json").read_bytes() == body
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files than fetched sources"):
        bring(table, tmp_path / "mine", "scgpt-vocabulary")


def test_a_dictionary_with_another_checksum_is_refused_and_leaves_nothing(
    server: Server, table: Path, tmp_path: Path
) -> None:
    body = server.answers["/geneformer-medians"]
    server.answers["/geneformer-medians"] = body.replace(b"ENSG9", b"ENSG8")
    with pytest.raises(UserError, match=r"gene_median_dictionary_gc104M\.pkl: sha256 is"):
        bring(table, tmp_path / "models", "vocabularies")
    assert not {path.name for path in (tmp_path / "models").rglob("gene_median*")} & {
        "gene_median_dictionary_gc104M.pkl",
        "gene_median_dictionary_gc104M.pkl.part",
    }
    assert not (tmp_path / "models" / "vocabularies" / "geneformer.tsv.gz").exists()
    server.answers["/geneformer-medians"] = body
    bring(table, tmp_path / "models", "vocabularies")
    assert (tmp_path / "models" / "vocabularies" / "geneformer.tsv.gz").exists()
    # the same where the one file that was asked for is refused
    server.answers["/scgpt-vocabulary"] = server.answers["/scgpt-vocabulary"][::-1]
    for _ in range(2):
        with pytest.raises(UserError, match=r"scgpt\.json: sha256 is"):
            bring(table, tmp_path / "other", "scgpt-vocabulary")


def test_a_web_page_in_place_of_weights_is_refused(
    server: Server, table: Path, tmp_path: Path
) -> None:
    raw = yaml.safe_load(table.read_text())
    for item in raw["sources"]:
        item.pop("bytes", None)
    table.write_text(yaml.safe_dump(raw))
    server.answers["/geneformer-316m"] = b"<!DOCTYPE html><html>sign in"
    with pytest.raises(UserError, match="web page"):
        bring(table, tmp_path / "models", "weights")


def test_what_is_missing_is_said(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(table, tmp_path / "models", "geneformer-tokens")
    said = capsys.readouterr().out
    assert "there is no gene_median_dictionary_gc104M.pkl, no gene_name_id_dict_gc104M.pkl" in said
    assert "to use" not in said


def test_folders_of_the_users_take_the_place_of_downloads(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = tmp_path / "Geneformer"
    (clone / "geneformer").mkdir(parents=True)
    for name, body in zip(models.DICTIONARIES, official().values(), strict=True):
        (clone / "geneformer" / name).write_bytes(body)
    for name in ("V2-104M", "V1", "V2-316M"):
        (clone / name).mkdir()
        save_model(geneformer(), clone / name)
    (clone / "V1" / "config.json").write_text('{"vocab_size": 25426}')
    (clone / "V2-316M" / "model.safetensors").write_text("version https://git-lfs.github.com/spec")
    scgpt = scgpt_folder(tmp_path / "scGPT human")
    out = tmp_path / "models"
    given = ["data", "cells-models", str(out), "--geneformer", str(clone), "--scgpt", str(scgpt)]
    assert not main([*given, "--sources", str(table)])
    said = capsys.readouterr()
    assert f"set scgpt.weights: {scgpt}" in said.out and f"--scgpt {scgpt}/vocab.json" in said.out
    assert f"set geneformer.weights: {clone / 'V2-104M'}" in said.out
    assert said.out.count("set geneformer.weights") == 1 and "Google Drive" not in said.out
    assert "V1 knows 25426 tokens, the vocabulary has 84" in said.err
    assert "V2-316M/model.safetensors is a pointer of Git LFS" in said.err
    assert len(RankVocabulary.load(*models_of(out))) == G + 4
    assert read_json(out / LOCK_NAME) == {}  # nothing was fetched
    assert not main([*given, "--sources", str(table)])  # its own output may be replaced


def models_of(out: Path) -> tuple[Path, Path]:
    folder = out / "vocabularies"
    return folder / "geneformer.tsv.gz", folder / "aliases.tsv.gz"


def test_a_checkpoint_of_scgpt_that_cannot_be_used_stops_before_any_transfer(
    server: Server, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models"
    for name in models.CHECKPOINT:
        folder = scgpt_folder(tmp_path / f"no {name}")
        (folder / name).unlink()
        with pytest.raises(UserError, match=rf"{name}: --scgpt: no such file\. Save args"):
            bring(table, out, scgpt=folder)
    other = scgpt_folder(tmp_path / "other", G + 5)
    with pytest.raises(UserError, match=r"vocab\.json: has 83 tokens, the weights know 85"):
        bring(table, out, scgpt=other)
    code = scgpt_folder(tmp_path / "code")
    torch.save({"w": os.system}, code / "best_model.pt")
    with pytest.raises(UserError, match=r"best_model\.pt: cannot be read as weights alone"):
        bring(table, out, scgpt=code)
    with pytest.raises(UserError, match=r"nowhere: --geneformer: no such folder"):
        bring(table, out, geneformer=tmp_path / "nowhere")
    assert not out.exists()


def test_scgpt_weights_are_not_fetched_and_the_remedy_is_said(table: Path) -> None:
    with pytest.raises(UserError, match=r"--only: scgpt-weights cannot be fetched.*--scgpt DIR"):
        load_sources(table).select(["scgpt-weights"])
    with pytest.raises(UserError, match=r"knows no source or group 'wights'.*weights"):
        load_sources(table).select(["wights"])


def test_the_dry_run_says_what_cannot_be_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert not main(["data", "cells-models", "--dry-run"])
    said = capsys.readouterr().out
    (line,) = (one for one in said.splitlines() if "weights of V2-316M" in one)
    assert "unverified" in line and "05fcbeb8a27d49e0a7a4349152202ee2c1cbfd28" in line
    assert "left out (name them with --only): weights-104m" in said
    assert "not fetched: scgpt-weights: scGPT's weights (whole-human) lie on a Google" in said


def test_the_bundled_table_is_pinned() -> None:
    for source in load_sources().sources:
        assert source.url is not None and re.search(r"/[0-9a-f]{40}/", source.url)
        assert source.url.startswith("https://") and (source.sha256 is None) != source.checked
        assert source.checked == (source.group == "vocabularies")
    paths = {source.path for source in load_sources().sources}
    assert {f"{models.OFFICIAL}/{name}" for name in models.DICTIONARIES} | {models.SCGPT} <= paths


class _Called:
    """Asks to call a function when it is unpickled, as a hostile file does."""

    def __init__(self, call: Any, *given: Any) -> None:
        self.parts = call, given

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_code_in_a_pickle_is_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    for call in (os.mkdir, eval, getattr):
        given = (f"__import__('os').mkdir({str(mark)!r})",) if call is eval else (str(mark),)
        body = pickle.dumps({"a": _Called(call, *given)}, protocol)
        (tmp_path / "x.pkl").write_bytes(body)
        with pytest.raises(UserError, match=r"x\.pkl: cannot be read as a plain dictionary \(it asks for \w+\.\w+; code in a file is never run\)"):  # fmt: skip
            read_dictionary(tmp_path / "x.pkl", str)
    assert not mark.exists()
    harm = pickle.dumps(_Called(os.mkdir, str(mark)), protocol)
    pickle.loads(harm)  # read elsewhere, such a file does what it says
    assert mark.exists()


def test_stand_ins_cannot_be_altered_by_a_file(tmp_path: Path) -> None:
    """A state set on `numpy.dtype` or `scalar` themselves, or wrong arguments, are refused."""
    scalar = b"cnumpy.core.multiarray\nscalar\n"
    dtype = b"cnumpy\ndtype\n"
    for body in (
        scalar + b"}X\x01\x00\x00\x00aK\x01sb.",  # BUILD with a dictionary
        scalar + b"(N}X\x08\x00\x00\x00__call__K\x01stb.",  # BUILD with slots
        dtype + b"(N}X\x08\x00\x00\x00__call__K\x01stb.",
        dtype + b"(X\x01\x00\x00\x00OtR.",  # an object array's type
        dtype + b"(]tR.",
        dtype + b"(X\x02\x00\x00\x00f8tR(K\x03X\x01\x00\x00\x00|tb.",
        scalar + b"(K\x01C\x08\0\0\0\0\0\0\0\0tR.",
        scalar + dtype + b"(X\x02\x00\x00\x00f8tRC\x04\0\0\0\0\x86R.",  # too few bytes
        b"\x82\x01.",  # an extension
        b"Pname\n.",  # a persistent object
    ):
        (tmp_path / "x.pkl").write_bytes(body)
        with pytest.raises(UserError, match=r"cannot be read as a plain dictionary"):
            read_dictionary(tmp_path / "x.pkl", float)
    (tmp_path / "good.pkl").write_bytes(pickled({"A": np.float64(0.1)}))
    assert read_dictionary(tmp_path / "good.pkl", float) == {"A": 0.1}
    # as a machine that stores the highest byte first writes it
    kind = b"(X\x02\x00\x00\x00f8tR(K\x03X\x01\x00\x00\x00>tb"
    swapped = (
        b"\x80\x03}X\x01\x00\x00\x00A" + scalar + dtype + kind + b"C\x08" + struct.pack(">d", 0.1)
    )
    (tmp_path / "good.pkl").write_bytes(swapped + b"\x86Rs.")
    assert read_dictionary(tmp_path / "good.pkl", float) == {"A": 0.1}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", [0.1, np.float64(0.1), np.float32(0.1), np.float64(np.pi)])
def test_scalars_are_what_numpy_reads(tmp_path: Path, protocol: int, value: Any) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"A": value}, protocol))
    if protocol == 2 and isinstance(value, np.generic):
        with pytest.raises(UserError, match=r"asks for _codecs\.encode"):  # how it wrote bytes
            read_dictionary(tmp_path / "x.pkl", float)
        return
    found = read_dictionary(tmp_path / "x.pkl", float)["A"]
    assert type(found) is float and found == float(value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "cannot be read as a plain dictionary"),
        (b"<html>", "cannot be read as a plain dictionary"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a pointer of Git LFS, not the file. Run `git lfs pull`"),
        (pickled({"A": 1})[:-4], "cannot be read as a plain dictionary"),
        (pickle.dumps([1]), "holds a list"),
        (pickle.dumps({1: 1}), "has a key that is no name"),
        (pickle.dumps({"A\tB": 1}), "has a key that is no name"),
        (pickle.dumps({"A": "1"}), "A: is str, not int"),
        (pickle.dumps({"A": True}), "A: is bool, not int"),
    ],
)  # fmt: skip
def test_a_dictionary_that_is_none(tmp_path: Path, body: bytes, told: str) -> None:
    (tmp_path / "x.pkl").write_bytes(body)
    with pytest.raises(UserError) as caught:
        read_dictionary(tmp_path / "x.pkl", int)
    assert f"x.pkl: {told}" in str(caught.value)


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.pkl").open("wb") as file:
        file.truncate(1 << 27)
    with pytest.raises(UserError, match="134,217,728 bytes, more than any dictionary"):
        read_dictionary(tmp_path / "x.pkl", int)
    with pytest.raises(UserError, match=r"y\.pkl: no such file"):
        read_dictionary(tmp_path / "y.pkl", int)


@pytest.mark.parametrize(
    ("field", "change", "told"),
    [
        ("tokens", lambda d: d.pop("<mask>"), "tokens: <mask>: has no such token"),
        ("tokens", lambda d: d.update({ENSEMBL[0]: 0}), "tokens: gives a token twice"),
        ("tokens", lambda d: d.update({ENSEMBL[0]: -1}), "tokens: gives a token twice, or one below 0"),
        ("medians", lambda d: d.pop(ENSEMBL[7]), f"medians: {ENSEMBL[7]}: has no median"),
        ("medians", lambda d: d.update({ENSEMBL[7]: 0.0}), f"medians: {ENSEMBL[7]}: is 0.0"),
        ("aliases", lambda d: [d.pop(k) for k in list(d) if k not in ENSEMBL], "aliases: names no gene"),
    ],
)  # fmt: skip
def test_dictionaries_that_do_not_belong_together(
    tmp_path: Path, field: str, change: Any, told: str
) -> None:
    files = Dictionaries(*(tmp_path / name for name in Dictionaries._fields))
    for path, body in zip(files, official().values(), strict=True):
        found = pickle.load(io.BytesIO(body))
        if path.name == field:
            change(found)
        path.write_bytes(pickle.dumps(found, 4))
    with pytest.raises(UserError) as caught:
        RankTables.read(files)
    assert told in str(caught.value)


def test_the_official_vocabulary_comes_out_as_it_is_known(tmp_path: Path, shared: Path) -> None:
    """Tables that others made of the official files, turned back into the dictionaries."""
    folder = shared / "data/single_cell"
    texts = [
        gzip.decompress((folder / f"geneformer_gc104M_{name}.tsv.gz").read_bytes()).decode()
        for name in ("tokens", "aliases")
    ]
    tokens, aliases = ([line.split("\t") for line in t.splitlines()[1:]] for t in texts)
    genes = [row for row in tokens if not row[1].startswith("<")]
    files = Dictionaries(*(tmp_path / name for name in Dictionaries._fields))
    dictionaries: list[dict[str, Any]] = [
        {name: int(token) for token, name, *_ in tokens},
        {name: float(median) for _, name, median, _ in genes},
        {symbol: name for _, name, _, symbol in genes if symbol},
        dict(aliases) | {name: name for _, name, *_ in genes},
    ]
    for path, found in zip(files, dictionaries, strict=True):
        path.write_bytes(pickle.dumps(found, 4))
    paths = RankTables.read(files).write(tmp_path / "out")
    assert [gzip.decompress(path.read_bytes()).decode() for path in paths] == texts
