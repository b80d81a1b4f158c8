"""`petriscope data hsg [OUT]`: fetch what Hidden State Genomics used, and write dataset.yaml.

The model's weights (non-commercial), the authors' dictionaries and loci, their tables and the
genome: pinned, checked, and continued where an earlier run stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from petriscope.errors import UserError
from petriscope.fetch.download import LOCK_NAME, Outcome, Remote, download_all, recorded
from petriscope.fetch.transfer import Policy
from petriscope.fetch.unpack import extract, gunzip, index_fasta, is_archive
from petriscope.files import Output, atomic_path, claim
from petriscope.genome.fasta import Genome
from petriscope.progress import progress
from petriscope.studies.dna.data.sources import Source, SourceTable, load_sources, resolve
from petriscope.studies.dna.data.write import write_fasta

DEFAULT_OUT = "studies/dna/data/hsg"
FETCHED = Output("fetched sources", (LOCK_NAME, "*"))


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
    """The dry run: a line per source with its size, its address and whether it can be checked;
    licenses; what is left out."""
    rows = [(s.group, s.id, _size(s), _pinned(s), f"{s.what}  <{s.address}>") for s in chosen]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, [*widths, 0])) for row in rows]
    total = sum(source.bytes or source.about or 0 for source in chosen)
    lines += ["", f"{len(chosen)} sources, about {total:,} bytes besides the record's", ""]
    lines += licenses(chosen)
    left = sorted({s.group for s in table.sources} - {s.group for s in chosen})
    return "\n".join([*lines, "", f"left out (name them with --only): {', '.join(left) or 'none'}"])


def licenses(chosen: tuple[Source, ...]) -> list[str]:
    """A line per license: what it covers."""
    found = sorted({source.licence for source in chosen})
    return [
        f"license  {name}: {', '.join(sorted({s.group for s in chosen if s.licence == name}))}"
        for name in found
    ]


def fetch(
    table: SourceTable,
    chosen: tuple[Source, ...],
    out: Path,
    *,
    jobs: int = 4,
    verify: bool = False,
    policy: Policy | None = None,
) -> None:
    """Download, unpack and index ``chosen``; write dataset.yaml once all it names is there."""
    policy = policy or Policy()
    print("\n".join(licenses(chosen)), flush=True)
    settled = set() if verify else recorded(out)
    remotes: list[Remote] = []
    for source in progress(
        [s for s in chosen if s.path not in settled], "asking the archives", unit="source"
    ):
        remotes += resolve(source, table.services, policy)
    outcomes = download_all(remotes, out, jobs=jobs, policy=policy, verify=verify)
    for path in [out / path for path in sorted(recorded(out))]:
        if is_archive(path):
            extract(path)
    genome = _genome(table, out)
    _report(outcomes, out, sum(s.path in settled for s in chosen))
    missing = _write_dataset(table, out, genome)
    if missing:
        print(f"dataset.yaml is not written yet: there is no {', no '.join(missing)}")
    else:
        print(f"wrote {out / 'dataset.yaml'}")
    for config in sorted(out.glob("weights/*/config.json")):
        if (config.parent / "model.safetensors").is_file():
            print(f"to use the weights: in params.yaml set model.weights: {config.parent}")


def _genome(table: SourceTable, out: Path) -> Path | None:
    """The genome, unpacked and indexed, and beside it the chromosome that k-mers are counted on."""
    packed = next((s.path for s in table.sources if s.group == "genome"), None)
    if packed is None or packed not in recorded(out):
        return None
    plain = gunzip(out / packed)
    index_fasta(plain)
    contig = plain.with_name(f"{table.contig}.fa")
    if table.contig and not contig.is_file():
        genome = Genome([plain])
        size = int(genome.contigs.set_index("chrom").end[table.contig])
        with atomic_path(contig) as temporary:
            write_fasta(temporary, [(table.contig, genome.fetch_codes(table.contig, 0, size))])
            temporary.with_name(temporary.name + ".fai").unlink()
        index_fasta(contig)
    return plain


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
            f"not verified: no checksum was known for {', '.join(first)}; the sha256 of this first "
            f"download is now in {out / LOCK_NAME}",
            file=sys.stderr,
        )


def _write_dataset(table: SourceTable, out: Path, genome: Path | None) -> list[str]:
    """Write dataset.yaml; returns instead what it would name that is not there."""
    beds = {}
    for label, name in table.classes.items():
        found = sorted(out.rglob(name))
        if found:
            beds[label] = found[0].relative_to(out).as_posix()
    missing = [name for label, name in table.classes.items() if label not in beds]
    missing += [] if genome is not None else ["genome"]
    if missing or genome is None:
        return missing
    positive, negative = table.classes
    description: dict[str, object] = {
        "format": 1,
        "kind": "sequences",
        "name": "hsg",
        "description": "Loci that bind cisplatin or do not, as Hidden State Genomics used them: "
        "the classes differ in length",
        "licence": "; ".join(sorted({source.licence for source in table.sources})),
        "build": "hg38",
        "sequences": beds,
        "classes": {"positive": positive, "negative": negative},
        "upper": True,
        "genome": genome.relative_to(out).as_posix(),
    }
    contig = genome.with_name(f"{table.contig}.fa")
    if contig.is_file():
        description["contigs"] = contig.relative_to(out).as_posix()
    scores = next((s.path for s in table.sources if s.group == "conservation"), None)
    if scores is not None and (out / scores).is_file():
        description["conservation"] = scores
    with atomic_path(out / "dataset.yaml") as temporary:
        text = yaml.safe_dump(description, sort_keys=False, width=100)
        temporary.write_text(text, encoding="utf-8")
    return []


def _size(source: Source) -> str:
    if source.bytes:
        return f"{source.bytes:,}"
    return f"~{source.about:,}" if source.about else "unknown"


def _pinned(source: Source) -> str:
    if source.zenodo:
        return "md5 of the record"
    return "sha256" if source.sha256 else "md5" if source.md5 else "unverified"
