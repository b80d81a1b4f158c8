"""`petriscope data paper [OUT]`: fetch the paper's own data and weights, index them, and write
dataset.yaml."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from petriscope.errors import UserError
from petriscope.fetch.download import LOCK_NAME, Outcome, Remote, download_all, recorded
from petriscope.fetch.transfer import Policy
from petriscope.fetch.unpack import (
    checkpoint_prefixes,
    extract,
    gunzip,
    index_bam,
    index_fasta,
    is_archive,
)
from petriscope.files import Output, atomic_path, claim
from petriscope.progress import progress
from petriscope.studies.chromatin.data.archives import resolve
from petriscope.studies.chromatin.data.sources import Source, SourceTable, load_sources

DEFAULT_OUT = "data/paper"
FETCHED = Output("fetched sources", (LOCK_NAME, "*"))
NEEDED = ("hg38", "blacklist", "gencode", "go", "jaspar", "archetypes")
"""Sources that dataset.yaml names, by id."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "out", nargs="?", default=DEFAULT_OUT, help=f"folder to fill (default: {DEFAULT_OUT})"
    )
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


def run(args: argparse.Namespace) -> int:
    """Fetch what is missing; finished files stay, parts are continued. Returns the exit status."""
    if not 1 <= args.jobs <= 32:
        raise UserError(f"is {args.jobs}", field="--jobs", remedy="Use 1 to 32.")
    table = load_sources(args.sources)
    chosen = table.select(args.only)
    if args.dry_run:
        print(plan(table, chosen))
        return 0
    out = Path(args.out)
    if not (out.is_dir() and any(out.rglob("*.part"))):  # a first fetch that was interrupted
        claim(out, FETCHED)
    fetch(table, chosen, out, jobs=args.jobs, verify=args.verify)
    return 0


def plan(table: SourceTable, chosen: tuple[Source, ...]) -> str:
    """The dry run: a line per source with its size and address, the licenses, what is left out and
    why."""
    rows = [
        (s.group, s.id, _size(s), s.url or s.encode or f"Zenodo {s.zenodo}", s.what) for s in chosen
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"{g:{widths[0]}}  {i:{widths[1]}}  {n:>{widths[2]}}  {what}  <{where}>"
        for g, i, n, where, what in rows
    ]
    sizes = [source.bytes or source.about for source in chosen]
    unknown = sum(size is None for size in sizes)
    total = sum(size or 0 for size in sizes)
    lines += [
        "",
        f"{len(chosen)} sources, about {total:,} bytes"
        + (f" and {unknown} of unknown size" if unknown else ""),
    ]
    lines += [
        "~ estimated; ENCODE and Zenodo state exact size and md5, read before each transfer",
        "",
        "Licenses:",
    ]
    lines += [
        f"  {license}: {', '.join(sorted({s.group for s in chosen if s.licence == license}))}"
        for license in sorted({s.licence for s in chosen})
    ]
    lines += ["", "Left out:"] + [f"  {name}: {why}" for name, why in table.excluded.items()]
    return "\n".join(lines)


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
    policy = policy or Policy()
    settled = set() if verify else recorded(out)
    remotes: list[Remote] = []
    for source in progress(
        [s for s in chosen if s.path not in settled], "asking the archives", unit="source"
    ):
        remotes += resolve(source, table.services, policy)
    outcomes = download_all(remotes, out, jobs=jobs, policy=policy, verify=verify)
    _finish(chosen, out, [out / path for path in sorted(recorded(out))])
    _report(outcomes, out, sum(s.path in settled for s in chosen))
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


def _report(outcomes: list[Outcome], out: Path, settled: int) -> None:
    fetched = [outcome for outcome in outcomes if outcome.fetched]
    size = sum(outcome.bytes for outcome in fetched)
    print(
        f"{len(fetched)} files fetched ({size:,} bytes), {len(outcomes) - len(fetched) + settled} "
        f"were there already"
    )
    first = [outcome.path for outcome in outcomes if outcome.first]
    if first:
        print(
            f"no checksum is published for {len(first)} of them; their first download's sha256 is "
            f"now in "
            f"{out / LOCK_NAME}: {', '.join(first)}",
            file=sys.stderr,
        )


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


def _size(source: Source) -> str:
    if source.bytes:
        return f"{source.bytes:,}"
    return f"~{source.about:,}" if source.about else "unknown"
