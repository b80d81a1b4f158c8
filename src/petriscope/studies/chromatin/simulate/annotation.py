"""The simulated genome is annotated with genes, named after real markers of their programme, with
gene sets of planted meaning, and with an 18-state chromatin segmentation of each condition."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.studies.chromatin.simulate.genome import (
    CONDITIONS,
    LINEAGES,
    Element,
    SimulatedGenome,
    condition_accessibility,
)

MARKERS: dict[str, str] = {
    "blood": (
        "SPI1 CSF1R CD14 LYZ MPO ELANE PRTN3 AZU1 CEBPE CSF3R ITGAM FCGR1A S100A8 S100A9 S100A12 "
        "FCN1 CD33 MNDA "
        "TYROBP CTSS HBB HBA1 HBG1 GYPA EPOR ALAS2 KLF1 TAL1 GFI1B NFE2 HEMGN AHSP FLI1 ITGA2B "
        "PF4 GP9 TREML1 "
        "CD163 VCAN CLEC7A"
    ),
    "liver": (
        "ALB APOA1 APOB APOC3 APOH TTR TF SERPINA1 FGA FGB FGG AHSG HP HPX CYP3A4 CYP2E1 CYP2C9 "
        "CYP1A2 CYP7A1 "
        "CYP8B1 G6PC1 PCK1 TAT TDO2 HPD ARG1 CPS1 ASS1 OTC SLC10A1 ABCB11 UGT2B7 ADH1B ALDOB "
        "FABP1 AMBP ITIH1 C3 "
        "C9 ANGPTL3"
    ),
    "lymph": (
        "CD19 MS4A1 CD79A CD79B PAX5 EBF1 BLK BLNK CR2 FCER2 CD22 CD72 VPREB3 IGLL5 FCRL1 FCRL2 "
        "FCRLA TNFRSF13B "
        "TNFRSF13C BANK1 CIITA HLA-DRA HLA-DOB CXCR5 CCR7 SELL BACH2 POU2AF1 SPIB IKZF3 CD37 CD40 "
        "BTLA TCL1A LTB "
        "IL7R AFF3 RALGPS2"
    ),
    "in_vitro": (
        "MKI67 TOP2A CCNB1 CCNB2 CCNA2 CCNE1 CDK1 PLK1 AURKA AURKB BUB1 BUB1B CENPA CENPF MCM2 "
        "MCM3 MCM5 MCM7 PCNA "
        "RRM2 TYMS FOSL1 JUN CCN1 CCN2 ANKRD1 AXL LATS2 AMOTL2 AJUBA SERPINE1 PLAU TGM2 KRT18 "
        "MYBL2 FOXM1 E2F8 "
        "BIRC5 UBE2C CDC20"
    ),
    "in_vivo": (
        "PER1 PER2 PER3 CRY2 DBP TEF NR1D1 NR1D2 BHLHE41 FKBP5 TSC22D3 ZBTB16 KLF9 KLF15 SGK1 "
        "DUSP1 MT1X MT2A "
        "CEBPD PDK4 ANGPTL4 IRS2 TXNIP PIK3R1 FOXO1 FOXO3 ERRFI1 CDKN1C SESN1 CIRBP ZFP36 ZFP36L2 "
        "NFKBIA BTG1 BTG2 "
        "TNFAIP3 PNRC1 RGS2 MEF2D HIF3A"
    ),
}
PLANTED_TERMS: dict[str, tuple[str, ...]] = {
    "blood": (
        "myeloid leukocyte activation",
        "neutrophil degranulation",
        "phagocytosis",
        "erythrocyte differentiation",
        "myeloid cell differentiation",
        "platelet activation",
    ),
    "liver": (
        "cholesterol homeostasis",
        "bile acid biosynthetic process",
        "xenobiotic metabolic process",
        "gluconeogenesis",
        "triglyceride metabolic process",
        "acute-phase response",
    ),
    "lymph": (
        "B cell receptor signaling pathway",
        "B cell differentiation",
        "lymphocyte activation",
        "immunoglobulin production",
        "B cell proliferation",
        "antigen processing and presentation via MHC class II",
    ),
    "in_vitro": (
        "mitotic cell cycle",
        "DNA replication",
        "chromosome segregation",
        "extracellular matrix organization",
        "epithelial to mesenchymal transition",
        "ribosome biogenesis",
    ),
    "in_vivo": (
        "circadian rhythm",
        "response to glucocorticoid",
        "cellular response to starvation",
        "cellular response to hormone stimulus",
        "tissue homeostasis",
        "response to fasting",
    ),
}
_UNPLANTED_STEMS = (
    "axon guidance, synaptic vesicle exocytosis, sensory perception of smell, muscle contraction, "
    "cilium "
    "assembly, bone mineralization, keratinization, spermatogenesis, lens development, neural "
    "crest migration, "
    "ion transmembrane transport, lipid glycosylation, protein folding, mRNA splicing, tRNA "
    "modification, "
    "autophagy, endocytosis, vesicle docking, calcium signaling, Wnt signaling, Notch signaling, "
    "peptide "
    "secretion, hair follicle development, limb morphogenesis, heart looping, cartilage "
    "condensation"
)
MODIFIERS = (
    "",
    "regulation of ",
    "positive regulation of ",
    "negative regulation of ",
    "cellular component of ",
)


def _symbols(rng: np.random.Generator, n: int) -> list[str]:
    """Distinct GENCODE-like symbols of no particular programme."""
    stems = ("ZNF", "TMEM", "LINC0", "FAM", "CCDC", "SLC25A", "KIAA", "OR2A", "KLHL", "RNF")
    names = [f"{stem}{number}" for stem in stems for number in range(101, 400)]
    return [names[int(i)] for i in rng.permutation(len(names))[:n]]


class Gene(NamedTuple):
    """One gene."""

    chrom: str
    tss: int
    far: int
    """Other end of the body: below ``tss`` on the reverse strand."""
    strand: str
    name: str
    programme: str
    """`shared` where it follows none."""
    element: int
    """Its promoter."""


def simulate_genes(
    rng: np.random.Generator, elements: Sequence[Element], lengths: Mapping[str, int]
) -> list[Gene]:
    """One gene per promoter element, its programme that of the domain beside it (kept with
    probability .85).

    Names are markers of the programme while they last.
    """
    promoters = [element for element in elements if element.promoter]
    pools = {
        name: [str(x) for x in rng.permutation(text.split())] for name, text in MARKERS.items()
    }
    spare = iter(_symbols(rng, len(promoters)))
    genes = []
    for element in promoters:
        programme = element.home if rng.random() < 0.85 else "shared"
        pool = pools.get(_pool_of(rng, programme))
        name = pool.pop() if pool else next(spare)
        tss = (element.start + element.end) // 2
        forward = bool(rng.random() < 0.5)
        reach = int(rng.uniform(3000, 30_000))
        far = min(tss + reach, lengths[element.chrom]) if forward else max(tss - reach, 0)
        genes.append(
            Gene(element.chrom, tss, far, "+" if forward else "-", name, programme, element.number)
        )
    return genes


def _pool_of(rng: np.random.Generator, programme: str) -> str:
    """Marker pool a programme draws from: a lineage-by-context programme takes either of its
    two."""
    for lineage in LINEAGES:
        if programme.startswith(lineage + "_"):
            return lineage if rng.random() < 0.5 else programme.removeprefix(lineage + "_")
    return programme


def serves(gene_programme: str, term_programme: str) -> bool:
    """Whether a gene's programme belongs under a term's: the same, or lineage-by-context under
    either part."""
    return gene_programme == term_programme or (
        gene_programme.startswith(term_programme + "_")
        or gene_programme.endswith("_" + term_programme)
    )


def simulate_gene_sets(
    rng: np.random.Generator, genes: Sequence[Gene]
) -> list[tuple[str, str, list[str]]]:
    """(term, description, symbols): 30 planted terms and 130 of random members.

    Seven in ten members of a planted term are genes of its programme. Descriptions tell:
    `planted:liver`, `random`.
    """
    names = np.array([gene.name for gene in genes])
    planted_for = {
        p: np.array([serves(gene.programme, p) for gene in genes]) for p in PLANTED_TERMS
    }
    out = []
    number = 1
    for programme, terms in PLANTED_TERMS.items():
        inside, outside = (
            np.flatnonzero(planted_for[programme]),
            np.flatnonzero(~planted_for[programme]),
        )
        for term in terms:
            size = int(rng.integers(12, 31))
            n_in = min(len(inside), round(0.7 * size))
            n_out = min(len(outside), size - n_in)
            chosen = np.concatenate(
                [rng.choice(inside, n_in, replace=False), rng.choice(outside, n_out, replace=False)]
            )
            out.append(
                (f"{term} (PETRI:{number:07d})", f"planted:{programme}", sorted(names[chosen]))
            )
            number += 1
    for modifier in MODIFIERS:
        for stem in _UNPLANTED_STEMS.split(", "):
            size = min(len(names), int(rng.integers(8, 41)))
            chosen = rng.choice(len(names), size, replace=False)
            out.append((f"{modifier}{stem} (PETRI:{number:07d})", "random", sorted(names[chosen])))
            number += 1
    return out


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
