"""A feature's activation per base goes to a genome browser (BED, bedGraph, bigWig) or into the B
factors of a structure, where a viewer colors by it.

`petriscope track --feature 12 --out f12.bw` writes it from the finished run of a workspace.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import atomic_path
from petriscope.genome.fasta import Genome
from petriscope.probe.harvest import layer_paths
from petriscope.run.params import chosen_layer, load_params
from petriscope.run.workspace import Workspace, find_workspace
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.data.dataset import load_dataset
from petriscope.studies.dna.inputs import load_places
from petriscope.studies.dna.sequences import load_sequences
from petriscope.textfile import read_text

FORMATS = (".bed", ".bedgraph", ".bw", ".cif")
SCORE = 1000
"""Largest score of a BED."""
ATOMS = "_atom_site."
_WORD = re.compile(r"'[^']*'(?=\s|$)|\"[^\"]*\"(?=\s|$)|\S+")


def per_base(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, value: np.ndarray
) -> pd.DataFrame:
    """Tokens' values as runs of bases: columns chrom, start, end, value; sorted, none overlapping.

    chrom, start, end, value: (n,) of the tokens, 0-based half-open. Where tokens overlap (of
    sequences that do), the value is their mean. Bases of no token are left out; a 0 is a token on
    which the feature is silent.
    """
    tables = []
    frame = pd.DataFrame({"chrom": chrom, "start": start, "end": end, "value": value})
    for name, rows in frame[frame.end > frame.start].groupby("chrom", sort=True):
        edges = np.unique(np.concatenate([rows.start, rows.end]))
        size = len(edges)
        total, depth = np.zeros(size), np.zeros(size, np.int64)
        first, last = np.searchsorted(edges, rows.start), np.searchsorted(edges, rows.end)
        fires = rows.value.to_numpy(float)
        np.add.at(total, first, fires)
        np.add.at(total, last, -fires)
        np.add.at(depth, first, 1)
        np.add.at(depth, last, -1)
        total, depth = np.cumsum(total)[:-1], np.cumsum(depth)[:-1]
        mean = np.divide(total, depth, out=np.zeros(size - 1), where=depth > 0)
        mean[np.abs(mean) < 1e-9 * np.abs(fires).max(initial=0.0)] = 0.0  # of a running sum
        found = pd.DataFrame({"start": edges[:-1], "end": edges[1:], "value": mean})[depth > 0]
        found["value"] = found.value.astype(np.float32)
        new = (found.start != found.end.shift()) | (found.value != found.value.shift())
        runs = found.groupby(new.cumsum(), sort=True)
        merged = runs.agg({"start": "first", "end": "last", "value": "first"})
        tables.append(merged.assign(chrom=name)[["chrom", "start", "end", "value"]])
    if not tables:
        return pd.DataFrame(columns=["chrom", "start", "end", "value"])
    return pd.concat(tables, ignore_index=True)


def write_track(path: Path, runs: pd.DataFrame, name: str, sizes: Mapping[str, int]) -> None:
    """Write `per_base` runs in the format of the file's name.

    .bed: where the feature fires, score in thousandths of its largest activation. .bedgraph: all
    runs. .bw: bigWig of all runs; ``sizes``: bp of each chromosome. Raises `UserError` for another
    name.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS[:3]:
        remedy = f"End it in {', '.join(FORMATS)}."
        raise UserError(f"ends in {kind!r}", file=path, field="--out", remedy=remedy)
    with atomic_path(path) as temporary:
        if kind == ".bw":
            _write_bigwig(temporary, runs, sizes)
        elif kind == ".bedgraph":
            head = f'track type=bedGraph name="{name}"\n'
            body = runs.to_csv(sep="\t", header=False, index=False, float_format="%.6g")
            temporary.write_text(head + body, encoding="utf-8")
        else:
            on = runs[runs.value > 0]
            score = (SCORE * on.value / max(runs.value.max(), np.finfo(float).tiny)).round()
            bed = on.assign(name=name, score=score.astype(int), strand=".")
            columns = ["chrom", "start", "end", "name", "score", "strand"]
            text = bed[columns].to_csv(sep="\t", header=False, index=False)
            temporary.write_text(text, encoding="utf-8")


def _write_bigwig(path: Path, runs: pd.DataFrame, sizes: Mapping[str, int]) -> None:
    import pyBigWig

    chroms = sorted(runs.chrom.unique())
    with pyBigWig.open(str(path), "w") as out:
        out.addHeader([(name, int(sizes[name])) for name in chroms])
        for name in chroms:
            rows = runs[runs.chrom == name]
            starts, ends = rows.start.astype(int).tolist(), rows.end.astype(int).tolist()
            out.addEntries([name] * len(rows), starts, ends=ends, values=rows.value.tolist())


def with_b_factors(text: str, values: np.ndarray, chain: str | None, file: str | Path) -> str:
    """mmCIF ``text`` whose B factors of one chain are ``values`` (L,), one a residue.

    chain: its `label_asym_id`; None: the only one of L residues. Residues are counted from 1
    (`label_seq_id`). All else stays as it is. Raises `UserError` where no chain has L residues, or
    more than one and none is named.
    """
    lines = text.splitlines(keepends=True)
    names = [line.strip() for line in lines if line.startswith(ATOMS)]
    wanted = [f"{ATOMS}{name}" for name in ("label_asym_id", "label_seq_id", "B_iso_or_equiv")]
    if any(name not in names for name in wanted):
        what = f"has no {next(name for name in wanted if name not in names)}"
        raise UserError(what, file=file, remedy="Give an mmCIF file with atoms.")
    asym, seq, b = (names.index(name) for name in wanted)
    last = max(i for i, line in enumerate(lines) if line.startswith(ATOMS))
    rows: dict[int, list[re.Match[str]]] = {}
    for number in range(last + 1, len(lines)):
        if lines[number].startswith(("#", "loop_", "_", "data_")):
            break
        if lines[number].strip():
            rows[number] = list(_WORD.finditer(lines[number].rstrip("\r\n")))
            if len(rows[number]) != len(names):
                what = f"has {len(rows[number])} entries of {len(names)}"
                remedy = "Write each atom on one line."
                raise UserError(what, file=file, field=f"line {number + 1}", remedy=remedy)
    residues: dict[str, set[str]] = {}
    for row in rows.values():
        residues.setdefault(row[asym][0], set()).add(row[seq][0])
    fits = [
        name
        for name, found in residues.items()
        if found == {str(i + 1) for i in range(len(values))} and chain in (None, name)
    ]
    if len(fits) != 1:
        which = f"chain {chain}" if chain else f"{len(fits)} chains" if fits else "no chain"
        verb = "have" if len(fits) > 1 else "has" if chain is None else "has not"
        raise UserError(
            f"{which} {verb} the {len(values)} residues of the sequence",
            file=file,
            field="--chain",
            remedy=f"Name one of {', '.join(fits or residues)}, of the sequence's length.",
        )
    for number, row in rows.items():
        if row[asym][0] == fits[0]:
            line, span = lines[number], row[b].span()
            new = f"{values[int(row[seq][0]) - 1]:.3f}"
            lines[number] = line[: span[0]] + new + line[span[1] :]
    return "".join(lines)


def feature_tokens(workspace: Workspace, layer: int, feature: int) -> np.ndarray:
    """(n,) activation of one latent on every token. Raises `UserError` for a latent that is not
    there or never fires."""
    codes = encoded_layers(workspace.codes)[layer].codes().scipy()
    if not 0 <= feature < codes.shape[1]:
        what, remedy = f"is {feature}", f"Layer {layer} has features 0 to {codes.shape[1] - 1}."
        raise UserError(what, field="--feature", remedy=remedy)
    found = np.asarray(codes[:, [feature]].toarray(), np.float32)[:, 0]
    if not found.any():
        what = f"{feature} fires on no token of layer {layer}"
        raise UserError(what, field="--feature", remedy="Choose one that fires.")
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `petriscope track`."""
    parser.add_argument("--feature", type=int, required=True, help="number of the latent")
    parser.add_argument("--layer", type=int, help="its layer (default: that of params.yaml)")
    parser.add_argument(
        "--out", type=Path, required=True, help=f"file to write: {', '.join(FORMATS)}"
    )
    parser.add_argument("--structure", type=Path, help="with .cif: the mmCIF file to color")
    parser.add_argument("--sequence", help="with .cif: id of the sequence that the structure is of")
    parser.add_argument("--chain", help="with .cif: label_asym_id of its chain")
    parser.add_argument("--workspace", type=Path, default=Path())


def run(args: argparse.Namespace) -> int:
    """Write one feature's activation per base."""
    workspace = find_workspace(args.workspace, "dna")
    params = load_params(workspace.params)
    layers = layer_paths(workspace.codes)
    layer = chosen_layer(params.layer if args.layer is None else args.layer, max(layers), "layer")
    value, places = feature_tokens(workspace, layer, args.feature), load_places(workspace)
    frame = load_sequences(workspace).frame
    row = np.repeat(np.arange(len(frame)), frame.n_tokens)
    bases = places.width.to_numpy() > 0
    value, row = value[bases], row[bases]
    start, width = (places[name].to_numpy(np.int64)[bases] for name in ("start", "width"))
    if args.out.suffix.lower() == ".cif":
        _color(args, frame, row, width, value)
        return 0
    if frame.chrom.isna().any() or frame.start.isna().any():
        what, remedy = "has sequences without a locus", "Give chrom, start and end of each."
        raise UserError(what, field="dataset", remedy=remedy)
    low, high = (frame[name].to_numpy(np.int64)[row] for name in ("start", "end"))
    back = (frame.strand == "-").to_numpy()[row]
    first = np.where(back, high - start - width, low + start)
    runs = per_base(frame.chrom.to_numpy()[row], first, first + width, value)
    name = f"layer {layer} feature {args.feature}"
    sizes = _sizes(workspace, params.dataset, frame)
    write_track(args.out, runs, name, sizes)
    print(f"{args.out}: {name}, {len(runs):,} runs, largest {runs.value.max():.4g}")
    return 0


def _sizes(workspace: Workspace, dataset: str, frame: pd.DataFrame) -> dict[str, int]:
    """bp of each chromosome: of the FASTA, or as far as the sequences reach."""
    sizes: dict[str, int] = frame.groupby("chrom").end.max().astype(int).to_dict()
    found = load_dataset(workspace.dataset(dataset))
    fasta = found.genome or found.contigs
    if fasta is not None:
        for contig in Genome([fasta]).contigs.itertuples():
            sizes[contig.chrom] = max(sizes.get(contig.chrom, 0), contig.end)
    return sizes


def _color(
    args: argparse.Namespace,
    frame: pd.DataFrame,
    row: np.ndarray,
    width: np.ndarray,
    value: np.ndarray,
) -> None:
    for given in ("structure", "sequence"):
        if getattr(args, given) is None:
            remedy = "Give --structure FILE.cif and --sequence ID."
            raise UserError("is needed to write a structure", field=f"--{given}", remedy=remedy)
    mine = np.flatnonzero(frame.id == args.sequence)
    if not len(mine):
        remedy = f"Ids are such as {frame.id.iloc[0]}."
        raise UserError(f"{args.sequence!r} is no sequence", field="--sequence", remedy=remedy)
    here = row == mine[0]
    values = np.repeat(value[here], width[here])
    text = with_b_factors(read_text(args.structure), values, args.chain, args.structure)
    with atomic_path(args.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{args.out}: {len(values)} residues, largest {values.max():.4g}")
