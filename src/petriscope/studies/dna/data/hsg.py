"""`petriscope data hsg [OUT]`: fetch what Hidden State Genomics used, and write dataset.yaml.

The model's weights (non-commercial), the authors' dictionaries and loci, their tables and the
genome: pinned, checked, and continued where an earlier run stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from petriscope.fetch import verb
from petriscope.fetch.download import recorded
from petriscope.fetch.sources import Source, resolve
from petriscope.fetch.transfer import Policy
from petriscope.fetch.unpack import extract, gunzip, index_fasta, is_archive
from petriscope.files import atomic_path
from petriscope.genome.fasta import Genome
from petriscope.studies.dna.data.sources import SourceTable, load_sources
from petriscope.studies.dna.data.write import write_fasta

DEFAULT_OUT = "studies/dna/data/hsg"


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
    """The dry run, and what is left out."""
    left = sorted({s.group for s in table.sources} - {s.group for s in chosen})
    said = f"left out (name them with --only): {', '.join(left) or 'none'}"
    return "\n".join([*verb.plan(chosen), "", said])


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
    print("\n".join(verb.licenses(chosen)), flush=True)
    verb.download(
        *(chosen, table.services, out, resolve),
        jobs=jobs,
        verify=verify,
        policy=policy or Policy(),
    )
    for path in [out / path for path in sorted(recorded(out))]:
        if is_archive(path):
            extract(path)
    genome = _genome(table, out)
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
