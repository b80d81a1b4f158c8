"""`petriscope data cells-models [OUT]`: fetch the vocabularies and weights of Geneformer and the
vocabulary of scGPT, and write them in the form that data sets of cells and params.yaml name.

A folder of the user's takes the place of a download: of Geneformer's repository (``--geneformer``),
of scGPT's checkpoint (``--scgpt``), whose weights have no stable address.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from petriscope.errors import UserError
from petriscope.fetch import verb
from petriscope.fetch.download import LOCK_NAME, recorded
from petriscope.fetch.sources import Source, resolve
from petriscope.fetch.transfer import Policy
from petriscope.files import claim, read_json, write_json
from petriscope.studies.cells.data.vocabulary import BinVocabulary
from petriscope.studies.cells.fetch.dictionaries import Dictionaries, RankTables, is_pointer
from petriscope.studies.cells.fetch.sources import SourceTable, load_sources

DEFAULT_OUT = "studies/cells/data/models"
DICTIONARIES = Dictionaries(
    Path("token_dictionary_gc104M.pkl"),
    Path("gene_median_dictionary_gc104M.pkl"),
    Path("gene_name_id_dict_gc104M.pkl"),
    Path("ensembl_mapping_dict_gc104M.pkl"),
)
"""As the official package names them."""
OFFICIAL, VOCABULARIES = "official", "vocabularies"
SCGPT = f"{VOCABULARIES}/scgpt.json"
"""Where the table of sources puts the dictionaries and scGPT's vocabulary."""
CHECKPOINT = ("args.json", "best_model.pt", "vocab.json")
"""Files of scGPT's checkpoint."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    verb.add_arguments(parser, DEFAULT_OUT)
    parser.add_argument(
        "--geneformer",
        metavar="DIR",
        help="a folder with Geneformer's dictionaries (a clone of its repository): fetch none of "
        "its files",
    )
    parser.add_argument(
        "--scgpt",
        metavar="DIR",
        help=f"a folder with scGPT's checkpoint ({', '.join(CHECKPOINT)}), whose weights have no "
        "stable address: check it and fetch none of its files",
    )


def run(args: argparse.Namespace) -> int:
    """Fetch what is missing; finished files stay, parts are continued. Returns the exit status."""
    verb.check_jobs(args.jobs)
    table = load_sources(args.sources)
    local = {
        name: Path(given)
        for name in ("geneformer", "scgpt")
        if (given := getattr(args, name)) is not None
    }
    chosen = tuple(s for s in table.select(args.only) if s.id.partition("-")[0] not in local)
    if args.dry_run:
        print(plan(table, chosen))
        return 0
    for folder in local.values():
        claim(args.out, verb.FETCHED, inputs=[folder])
    fetch(
        table,
        chosen,
        verb.claimed(args.out),
        geneformer=local.get("geneformer"),
        scgpt=local.get("scgpt"),
        jobs=args.jobs,
        verify=args.verify,
    )
    return 0


def plan(table: SourceTable, chosen: Sequence[Source]) -> str:
    """The dry run, and what is left out and why."""
    left = sorted({s.group for s in table.sources} - {s.group for s in chosen})
    said = f"left out (name them with --only): {', '.join(left) or 'none'}"
    listed = verb.plan(chosen) if chosen else ["nothing to fetch"]
    return "\n".join([*listed, "", said, *_elsewhere(table)])


def _elsewhere(table: SourceTable) -> list[str]:
    return [f"not fetched: {name}: {words}" for name, words in table.elsewhere.items()]


def fetch(
    table: SourceTable,
    chosen: Sequence[Source],
    out: Path,
    *,
    geneformer: Path | None = None,
    scgpt: Path | None = None,
    jobs: int = 4,
    verify: bool = False,
    policy: Policy | None = None,
) -> None:
    """Download ``chosen``, write the vocabularies as tables, and say how to use it all. Folders of
    the user's are read first, so that nothing is fetched beside one that cannot be used."""
    tables = None if geneformer is None else RankTables.read(_dictionaries(geneformer))
    vocabulary = None if scgpt is None else _checked(scgpt)
    if chosen:
        print("\n".join(verb.licenses(chosen)), flush=True)
        patience = policy or Policy()
        verb.download(chosen, {}, out, resolve, jobs=jobs, verify=verify, policy=patience)
    there = recorded(out)
    missing = [str(name) for name in DICTIONARIES if f"{OFFICIAL}/{name}" not in there]
    if tables is None and not missing:
        folder = out / OFFICIAL
        tables = RankTables.read(Dictionaries(*(folder / name for name in DICTIONARIES)))
    elif tables is None and len(missing) < len(DICTIONARIES):
        print(f"Geneformer's tables are not written yet: there is no {', no '.join(missing)}")
    if vocabulary is None and SCGPT in there:
        vocabulary = out / SCGPT
        BinVocabulary.load(vocabulary)
    options = []
    if tables is not None:
        tokens, aliases = tables.write(out / VOCABULARIES)
        if not (out / LOCK_NAME).is_file():  # the mark by which a later run knows the folder
            write_json(out / LOCK_NAME, {})
        counts = [f"{len(lines) - 1:,}" for lines in (tables.tokens, tables.aliases)]
        print(f"wrote {tokens} ({counts[0]} tokens) and {aliases} ({counts[1]} other names)")
        options += [f"--geneformer {tokens}", f"--aliases {aliases}"]
    if vocabulary is not None:
        options += [f"--scgpt {vocabulary}"]
    if options:
        print(f"to use the vocabularies: petriscope data cells {' '.join(options)} --from FILE OUT")
    _say_weights(geneformer or out / "geneformer", tables)
    if scgpt is not None:
        print(f"to use the weights: in params.yaml set scgpt.weights: {scgpt}")
    else:
        print("\n".join(_elsewhere(table)))


def _say_weights(folder: Path, tables: RankTables | None) -> None:
    """Name the checkpoints of Geneformer in ``folder`` that the vocabulary belongs to."""
    for config in sorted(folder.glob("*/config.json")):
        here, weights = config.parent, config.parent / "model.safetensors"
        if not weights.is_file():
            continue
        found = read_json(config)
        words = found.get("vocab_size") if isinstance(found, dict) else None
        if is_pointer(weights):
            remedy = "run `git lfs pull` there"
            print(f"not usable: {weights} is a pointer of Git LFS: {remedy}", file=sys.stderr)
        elif tables is not None and words != len(tables.tokens) - 1:
            said = f"knows {words} tokens, the vocabulary has {len(tables.tokens) - 1}"
            print(f"not usable with this vocabulary: {here} {said}", file=sys.stderr)
        else:
            print(f"to use the weights: in params.yaml set geneformer.weights: {here}")


def _dictionaries(folder: Path) -> Dictionaries:
    """The four in a folder of the user's, or in the package of a repository's clone."""
    if not folder.is_dir():
        remedy = "Name a folder with Geneformer's dictionaries."
        raise UserError("no such folder", file=folder, field="--geneformer", remedy=remedy)
    package = folder / "geneformer"
    found = package if (package / DICTIONARIES.tokens).is_file() else folder
    return Dictionaries(*(found / name for name in DICTIONARIES))


def _checked(folder: Path) -> Path:
    """The vocabulary of scGPT's checkpoint in ``folder``, once weights and vocabulary are what a
    run would take. Raises `UserError` where they are not."""
    # torch, needed only where there are weights
    from petriscope.studies.cells.model.weights import load_checkpoint

    for name in CHECKPOINT:
        if not (folder / name).is_file():
            remedy = f"Save {', '.join(CHECKPOINT)} of the checkpoint in one folder."
            raise UserError("no such file", file=folder / name, field="--scgpt", remedy=remedy)
    words, known = len(BinVocabulary.load(folder / "vocab.json")), load_checkpoint(folder)
    if words != known.size.vocabulary:
        what = f"has {words:,} tokens, the weights know {known.size.vocabulary:,}"
        remedy = "Give the vocabulary that belongs to the weights."
        raise UserError(what, file=folder / "vocab.json", remedy=remedy)
    return folder / "vocab.json"
