"""Write a small folder as a laboratory might have it: genome, BAM, fragments, peaks, genes, motifs.
All of it simulated.

    python examples/miniature.py FOLDER

Every file but the BAMs is taken over from a small simulation as it is; two biosamples become
paired-end alignments and one is left with its peaks alone. There is no dataset.yaml and no planted
truth: docs/your-biosample.md writes the first and does without the second.
"""

from __future__ import annotations

import gzip
import shutil
import sys
import tempfile
from pathlib import Path

import pysam

from petriscope.studies.chromatin.simulate.dataset import DemoConfig, simulate_demo

CONFIG = DemoConfig(chromosomes=2, mean_length=500_000, replicates=2, deepest=12_000)
AS_BAM = ("blood_vitro_1", "liver_vivo_2")
AS_PEAKS = "lymph_vivo_2"


def fragments_to_bam(
    fragments: Path, chromosomes: dict[str, int], out: Path, read: int = 30
) -> None:
    """Each fragment (shifted by +4/-5, as fragment files are) as a proper pair of ``read`` bp,
    sorted and indexed."""
    names = list(chromosomes)
    header = {
        "HD": {"VN": "1.6"},
        "SQ": [{"SN": name, "LN": size} for name, size in chromosomes.items()],
    }
    unsorted = out.with_suffix(".unsorted")
    with (
        pysam.AlignmentFile(str(unsorted), "wb", header=header) as bam,
        gzip.open(fragments, "rt") as lines,
    ):
        for number, line in enumerate(lines):
            chrom, start, end = line.split("\t")[:3]
            left, right = max(int(start) - 4, 0), min(int(end) + 5, chromosomes[chrom])
            for first in (True, False):
                part = pysam.AlignedSegment(bam.header)
                part.query_name, part.reference_id = f"pair{number}", names.index(chrom)
                part.is_paired = part.is_proper_pair = True
                part.is_read1, part.is_read2 = first, not first
                part.is_reverse, part.mate_is_reverse = not first, first
                length = min(read, right - left)
                part.reference_start = left if first else right - length
                part.next_reference_id, part.next_reference_start = (
                    part.reference_id,
                    right - length if first else left,
                )
                part.template_length = (right - left) * (1 if first else -1)
                part.mapping_quality, part.cigartuples = 60, [(0, length)]
                part.query_sequence, part.query_qualities = (
                    "N" * length,
                    pysam.qualitystring_to_array("I" * length),
                )
                bam.write(part)
    pysam.sort("-o", str(out), str(unsorted))
    pysam.index(str(out))
    unsorted.unlink()


def main(folder: Path) -> None:
    """Write ``folder``, which must not exist yet."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        simulate_demo(made, CONFIG)
        lengths = {
            row.split("\t")[0]: int(row.split("\t")[1]) for row in (made / "genome.fa.fai").open()
        }
        folder.mkdir(parents=True)
        for name in (
            "genome.fa",
            "blacklist.bed",
            "genes.bed",
            "go.gmt",
            "motifs.meme",
            "states.tsv",
        ):
            shutil.copy(made / name, folder)
        for signal in sorted((made / "signal").iterdir()):
            sample = signal.name.split(".")[0]
            if sample in AS_BAM:
                fragments_to_bam(signal, lengths, folder / f"{sample}.bam")
            elif sample == AS_PEAKS:
                shutil.copy(
                    next((made / "peaks").glob(f"{sample}.*")), folder / f"{sample}.narrowPeak.gz"
                )
            else:
                shutil.copy(signal, folder / f"{sample}.fragments.tsv.gz")
        for segments in sorted((made / "chromhmm").iterdir()):
            shutil.copy(segments, folder)
    print(f"wrote {folder}: {len(list(folder.iterdir()))} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
