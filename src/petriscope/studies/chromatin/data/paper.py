"""`petriscope data paper [OUT]`: fetch the paper's own data and weights, index them, and write
dataset.yaml."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from petriscope.errors import UserError
from petriscope.fetch import verb
from petriscope.fetch.download import recorded
from petriscope.fetch.sources import Source
from petriscope.fetch.transfer import Policy
from petriscope.fetch.unpack import (
    checkpoint_prefixes,
    extract,
    gunzip,
    index_bam,
    index_fasta,
    is_archive,
)
from petriscope.files import atomic_path
from petriscope.progress import progress
from petriscope.studies.chromatin.data.archives import resolve
from petriscope.studies.chromatin.data.sources import SourceTable, load_sources

DEFAULT_OUT = "data/paper"
NEEDED = ("hg38", "blacklist", "gencode", "go", "jaspar", "archetypes")
"""Sources that dataset.yaml names, by id."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    verb.add_arguments(parser, DEFAULT_OUT)


def run(args: argparse.Namespace) -> int:
    """Fetch what is missing; finished files stay, parts are continued. Returns the exit status."""
    verb.check_jobs(args.jobs)
    table = load_sources(args.sources)
    chosen = table.select(args.only)
    if args.dry_run:
        print(plan(table, chosen))
        return 0
    fetch(table, chosen, verb.claimed(args.out), jobs=args.jobs, verify=args.verify)
    return 0


def plan(table: SourceTable, chosen: tuple[Source, ...]) -> str:
    """The dry run, and what is left out and why."""
    left = [f"  {name}: {why}" for name, why in table.excluded.items()]
    return "\n".join([*verb.plan(chosen), "", "Left out:", *left])


def fetch(
    table: SourceTable,
    chosen: tuple[Source, ...],
    out: Path,
    *,
    jobs: int = 4,
    verify: bool = False,
    policy: Policy | None = None,
) -> None:
    """Ask the archives, download, unpack and index ``chosen``; write dataset.yaml once everything
    it names is there."""
    verb.download(
        *(chosen, table.services, out, resolve),
        jobs=jobs,
        verify=verify,
        policy=policy or Policy(),
    )
    _finish(chosen, out, [out / path for path in sorted(recorded(out))])
    missing = _write_dataset(table, out)
    if missing:
        print(
            f"dataset.yaml is not written yet: {len(missing)} files are missing, such as "
            f"{missing[0]}"
        )
    else:
        print(f"wrote {out / 'dataset.yaml'}; run: petriscope reproduce --dataset {out}")


def _finish(chosen: tuple[Source, ...], out: Path, paths: list[Path]) -> None:
    """Decompress, extract and index what was fetched."""
    plain = {out / source.path for source in chosen if source.unpack == "gzip"}
    for path in progress(paths, "unpacking and indexing", total=len(paths), unit="file"):
        if path in plain:
            index_fasta(gunzip(path))
        elif path.suffix == ".bam":
            index_bam(path)
        elif is_archive(path):
            extract(path)
    _convert(out / "model")


def _convert(folder: Path) -> None:
    """Turn every checkpoint under ``folder`` into safetensors beside the archives; one that does
    not fit is named, no more."""
    from petriscope.studies.chromatin.model.convert import (
        convert_checkpoint,
    )  # torch, needed only where there are weights

    for prefix in checkpoint_prefixes(folder):
        parts = prefix.parent.relative_to(folder).parts or (prefix.name,)
        target = folder / (".".join(part.removesuffix(".files") for part in parts) + ".safetensors")
        if target.is_file():
            continue
        try:
            print("\n".join(convert_checkpoint(prefix, target).lines()))
            print(f"to use it: in params.yaml set model.weights: {target}")
        except UserError as error:
            print(f"not converted: {error}", file=sys.stderr)


def _write_dataset(table: SourceTable, out: Path) -> list[str]:
    """Write dataset.yaml; returns instead the files it would name that are not there."""
    paths = {source.id: source.path for source in table.sources}
    unnamed = [name for name in NEEDED if name not in paths]
    if unnamed:
        return [f"any source called {name}" for name in unnamed]
    description = {
        "format": 1,
        "name": "paper",
        "description": "ENCODE ATAC of the six conditions with replicates, hg38, Roadmap "
        "ChromHMM, GENCODE, GO, JASPAR",
        "licence": "; ".join(sorted({source.licence for source in table.sources})),
        "genome": {
            "build": "hg38",
            "fasta": [paths["hg38"].removesuffix(".gz")],
            "blacklist": paths["blacklist"],
        },
        "lineages": sorted({biosample.lineage for biosample in table.biosamples}),
        "biosamples": [
            {
                "id": b.id,
                "lineage": b.lineage,
                "context": b.context,
                "donor": b.donor,
                "signal": b.signal,
                "format": "bam",
                "peaks": b.peaks,
                "chromhmm": b.chromhmm,
            }
            for b in table.biosamples
        ],
        "annotation": {
            "genes": paths["gencode"],
            "genesets": {"GO_BP": paths["go"]},
            "motifs": {"file": paths["jaspar"], "format": "meme"},
            "activity_motifs": {"file": paths["archetypes"], "format": "meme"},
        },
        "lineage_factors": dict(table.lineage_factors),
    }
    named = [paths["hg38"].removesuffix(".gz"), *(paths[name] for name in NEEDED[1:])]
    named += [path for b in table.biosamples for path in (b.signal, b.peaks, b.chromhmm)]
    missing = [path for path in dict.fromkeys(named) if not (out / path).is_file()]
    if not missing:
        with atomic_path(out / "dataset.yaml") as temporary:
            temporary.write_text(
                yaml.safe_dump(description, sort_keys=False, width=120), encoding="utf-8"
            )
    return missing
