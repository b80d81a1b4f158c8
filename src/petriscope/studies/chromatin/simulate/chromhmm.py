"""An 18-state chromatin segmentation of each condition, derived from elements and genes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from petriscope.studies.chromatin.simulate.elements import (
    CONDITIONS,
    Element,
    condition_accessibility,
)
from petriscope.studies.chromatin.simulate.genes import Gene, serves
from petriscope.studies.chromatin.simulate.genome import SimulatedGenome

STEP = 200
# Roadmap Epigenomics' expanded 18-state model: mnemonic and display color, states 1..18
STATES: tuple[tuple[str, str], ...] = (
    ("TssA", "255,0,0"),
    ("TssFlnk", "255,69,0"),
    ("TssFlnkU", "255,69,0"),
    ("TssFlnkD", "255,69,0"),
    ("Tx", "0,128,0"),
    ("TxWk", "0,100,0"),
    ("EnhG1", "194,225,5"),
    ("EnhG2", "194,225,5"),
    ("EnhA1", "255,195,77"),
    ("EnhA2", "255,195,77"),
    ("EnhWk", "255,255,0"),
    ("ZNF/Rpts", "102,205,170"),
    ("Het", "138,145,208"),
    ("TssBiv", "205,92,92"),
    ("EnhBiv", "189,183,107"),
    ("ReprPC", "128,128,128"),
    ("ReprPCWk", "192,192,192"),
    ("Quies", "255,255,255"),
)
NUMBER = {name: i + 1 for i, (name, _) in enumerate(STATES)}


def _genes_on(genes: Sequence[Gene], lineage: str, context: str) -> np.ndarray:
    """Genes expressed in a condition: shared ones and those whose programme is on there."""
    here = (lineage, context, f"{lineage}_{context}")
    return np.array([gene.programme == "shared" or gene.programme in here for gene in genes])


def segment(
    rng: np.random.Generator,
    genome: SimulatedGenome,
    elements: Sequence[Element],
    genes: Sequence[Gene],
    condition: int,
) -> pd.DataFrame:
    """Segmentation of `CONDITIONS[condition]` at 200 bp: chrom, start, end, state (1..18),
    gap-free, no overlap.

    Later rules overwrite earlier ones: Quies; repeats ZNF/Rpts or Het; silent domains of other
    lineages ReprPC(Wk); bodies of expressed genes Tx, TxWk; elements EnhA1/EnhA2/EnhWk by
    accessibility (EnhG in an expressed gene), EnhBiv in part where closed; promoters TssA with
    flanks or TssBiv. One element in twelve gets a random state.
    """
    lineage, context = CONDITIONS[condition]
    access = condition_accessibility(elements)[:, condition]
    on = _genes_on(genes, lineage, context)
    gene_on = {gene.element: bool(expressed) for gene, expressed in zip(genes, on)}
    frames = []
    for chrom, codes in genome.sequence.items():
        n = -(-len(codes) // STEP)
        state = np.full(n, NUMBER["Quies"], dtype=np.int8)
        for start, end in genome.repeats[chrom]:
            if end - start > 250 and rng.random() < 0.25:
                state[start // STEP : end // STEP + 1] = (
                    NUMBER["Het"] if rng.random() < 0.7 else NUMBER["ZNF/Rpts"]
                )
        here = [element for element in elements if element.chrom == chrom]
        for _, group in itertools.groupby(here, key=lambda element: element.domain):
            domain = list(group)
            home = domain[0].home
            silent = home != "shared" and not any(serves(home, x) for x in (lineage, context))
            if silent and rng.random() < 0.5:
                quiet = NUMBER["ReprPC"] if rng.random() < 0.5 else NUMBER["ReprPCWk"]
                state[domain[0].start // STEP : domain[-1].end // STEP + 1] = quiet
        body = np.zeros(n, dtype=bool)
        for gene, expressed in zip(genes, on):
            if gene.chrom == chrom and expressed:
                a, b = sorted((gene.tss // STEP, gene.far // STEP))
                middle = (a + b) // 2
                near, far = (
                    (slice(a, middle), slice(middle, b))
                    if gene.strand == "+"
                    else (slice(middle, b), slice(a, middle))
                )
                state[near], state[far] = NUMBER["TxWk"], NUMBER["Tx"]
                body[a:b] = True
        for row in here:
            a, b = row.start // STEP, (row.end - 1) // STEP + 1
            open_here = access[row.number] > 0.3
            if row.promoter:
                lit = gene_on.get(row.number, True)
                if lit:
                    state[max(0, a - 2) : b + 2] = NUMBER["TssFlnk"]
                    state[max(0, a - 2) : a], state[b : b + 2] = (
                        NUMBER["TssFlnkU"],
                        NUMBER["TssFlnkD"],
                    )
                state[a:b] = NUMBER["TssA"] if lit else NUMBER["TssBiv"]
            elif open_here:
                strong, genic = access[row.number] > 0.8, body[a:b].any()
                if genic:
                    name = "EnhG1" if strong else "EnhG2"
                elif strong:
                    name = "EnhA1" if rng.random() < 0.7 else "EnhA2"
                else:
                    name = "EnhWk"
                state[a:b] = NUMBER[name]
                if strong and not genic:
                    state[max(0, a - 1) : a], state[b : b + 1] = NUMBER["EnhWk"], NUMBER["EnhWk"]
            elif rng.random() < 0.2:
                state[a:b] = NUMBER["EnhBiv"]
            if rng.random() < 1 / 12:
                state[a:b] = int(rng.integers(1, 19))
        cut = np.concatenate([[0], np.flatnonzero(np.diff(state)) + 1, [n]])
        end = np.minimum(cut[1:] * STEP, len(codes))
        frames.append(
            pd.DataFrame(
                {"chrom": chrom, "start": cut[:-1] * STEP, "end": end, "state": state[cut[:-1]]}
            )
        )
    return pd.concat(frames, ignore_index=True)
