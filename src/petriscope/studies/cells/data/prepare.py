"""`petriscope data cells --from FILE OUT`: files at hand become a data set of cells.

Everything is read first, as a run would: what the door refuses is refused here, and nothing is
written.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, claim
from petriscope.studies.cells.data.cells import COLUMNS, IDS
from petriscope.studies.cells.data.check import check_dataset
from petriscope.studies.cells.data.dataset import KIND, CellSet

MADE = "# Made by `petriscope data cells`."
SET = Output(
    "a data set that this verb made",
    (
        *("dataset.yaml", "cells.h5ad", "cells.h5", "cells.zarr/*", "cells/*"),
        *("vocabularies/*", "genesets/*", "networks/*"),
    ),
    lambda path: path.read_text(encoding="utf-8", errors="replace").startswith(MADE),
)
VOCABULARIES = {
    "geneformer": "Geneformer's tokens: columns token, ensembl_id, median, symbols",
    "aliases": "other names of its genes: columns alias, ensembl_id",
    "scgpt": "scGPT's vocabulary: columns symbol, id, or its vocab.json",
}
COLLECTIONS = {"genesets": "gene sets (GMT)", "networks": "pairs of genes (a table with a header)"}
NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument(
        "--from",
        dest="cells",
        required=True,
        metavar="FILE",
        help="raw counts: .h5ad, .zarr, the .h5 or the folder of 10x",
    )
    parser.add_argument("--layer", help="where the counts are: X (default), raw.X or layers/NAME")
    parser.add_argument(
        "--ids", default="auto", metavar="KIND", help=f"what names genes: {', '.join(IDS)}"
    )
    for name in COLUMNS:
        shown = name.replace("_", "-")
        parser.add_argument(f"--{shown}", metavar="COL", help=f"column of obs: {name}")
    parser.add_argument("--control", metavar="NAME", help="target of cells nobody perturbed")
    parser.add_argument(
        "--counts-are-fine",
        action="store_true",
        help="take whole numbers for counts even where they do not look it",
    )
    for name, words in VOCABULARIES.items():
        needed = name != "aliases"
        parser.add_argument(f"--{name}", metavar="FILE", required=needed, help=words)
    for name, words in COLLECTIONS.items():
        parser.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="NAME=FILE",
            help=f"{words}; may be repeated",
        )
    parser.add_argument("--name", help="of the data set (default: that of OUT)")
    parser.add_argument("--description", default="", help="a sentence for the reader")
    parser.add_argument("--licence", default="", help="terms under which the data may be used")


def run(args: argparse.Namespace) -> None:
    """Read every file, then copy it into ``args.out`` beside its dataset.yaml.

    Raises `UserError` for an argument or a file that is not what it should be.
    """
    dataset = described(args)
    inputs = [dataset.path, *_files(dataset)]
    out = claim(args.out, SET, inputs=inputs)
    report = check_dataset(dataset)
    print("\n".join(report.lines()), flush=True)
    report.refuse()
    with atomic_folder(out, SET) as folder:
        text = yaml.safe_dump(_copied(dataset, folder), sort_keys=False, width=100)
        (folder / "dataset.yaml").write_text(f"{MADE}\n{text}", encoding="utf-8")
    print(f"wrote {args.out}: petriscope reproduce --study cells --dataset {args.out}")


def described(args: argparse.Namespace) -> CellSet:
    """The data set that the arguments describe, of files where they lie now."""
    columns = {name: getattr(args, name) for name in COLUMNS if getattr(args, name) is not None}
    if args.control is not None and "target" not in columns:
        remedy = "Name the column of targets too: --target COL."
        raise UserError("is given without --target", field="--control", remedy=remedy)
    if args.control is None and "target" in columns:
        remedy = "Name the target of cells that nobody perturbed: --control NAME."
        raise UserError("is given without --control", field="--target", remedy=remedy)
    out = Path(args.out)
    return CellSet(
        name=args.name or out.resolve().name,
        description=args.description or f"cells of {Path(args.cells).name}",
        licence=args.licence,
        source=out / "dataset.yaml",
        root=out,
        path=Path(args.cells),
        layer=args.layer,
        ids=args.ids,
        columns=columns,
        control=args.control,
        counts_are_fine=args.counts_are_fine,
        vocabulary_files={
            name: Path(getattr(args, name)) for name in VOCABULARIES if getattr(args, name)
        },
        geneset_files=_named("--genesets", args.genesets),
        network_files=_named("--networks", args.networks),
        truth=None,
    )


def _named(option: str, given: Sequence[str]) -> dict[str, Path]:
    """Name → file of each NAME=FILE."""
    found: dict[str, Path] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not path or not NAME.fullmatch(name):
            remedy = f"Write {option} NAME=FILE, such as {option} mine={path or name}."
            raise UserError(f"{text!r} is not NAME=FILE", field=option, remedy=remedy)
        if name in found:
            remedy = "Give each file a name of its own."
            raise UserError(f"names {name} twice", field=option, remedy=remedy)
        found[name] = Path(path)
    return found


def _files(dataset: CellSet) -> list[Path]:
    """Every file besides the cells."""
    groups = (dataset.vocabulary_files, dataset.geneset_files, dataset.network_files)
    return [path for group in groups for path in group.values()]


def _copied(dataset: CellSet, folder: Path) -> dict[str, object]:
    """Copy the files into ``folder``; what dataset.yaml says of them."""
    cells = f"cells{dataset.path.suffix}"
    if dataset.path.is_dir():
        shutil.copytree(dataset.path, folder / cells)
    else:
        shutil.copyfile(dataset.path, folder / cells)
    described: dict[str, object] = {
        "format": 1,
        "kind": KIND,
        "name": dataset.name,
        "description": dataset.description,
        "licence": dataset.licence,
        "cells": cells,
        "layer": dataset.layer or "X",
        "ids": dataset.ids,
        "columns": dict(dataset.columns),
        "control": dataset.control,
        "counts_are_fine": dataset.counts_are_fine or None,
        "vocabularies": _collected(folder, "vocabularies", dataset.vocabulary_files),
        "genesets": _collected(folder, "genesets", dataset.geneset_files),
        "networks": _collected(folder, "networks", dataset.network_files),
    }
    return {field: value for field, value in described.items() if value not in (None, "", {})}


def _collected(folder: Path, kind: str, files: Mapping[str, Path]) -> dict[str, str]:
    """Copy files into a folder of their own; name → path in the data set."""
    (folder / kind).mkdir()
    found = {}
    for name, path in files.items():
        ends = path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]
        found[name] = f"{kind}/{name}{''.join(ends)}"
        shutil.copyfile(path, folder / found[name])
    if not found:
        (folder / kind).rmdir()
    return found
