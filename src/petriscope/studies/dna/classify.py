"""The head and its rivals are trained on the same groups and read on the same held-out ones; the
published form of the head, with its habits, stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.parallel import in_processes
from petriscope.sae.coder import SAE
from petriscope.studies.dna.areas import area_under_roc
from petriscope.studies.dna.head import (
    PUBLISHED,
    CNNHead,
    Ragged,
    Training,
    logits,
    margins,
    published_split,
    shared_share,
    train_head,
)
from petriscope.studies.dna.labeled import Labeled
from petriscope.studies.dna.rivals import (
    DECISIVE,
    Budget,
    compare_scores,
    cross_fitted,
    encoded,
    fit_logistic,
    grouped_folds,
    mean_streams,
    one_hot_margin,
    principal,
    sequence_columns,
)


class Asked(NamedTuple):
    """What is trained."""

    epochs: int
    batch: int
    seeds: tuple[int, ...]
    folds: int
    one_hot_epochs: int
    one_hot_folds: bool
    bootstrap: int
    seed: int


@dataclass(frozen=True)
class Classified:
    """Heads by name with the groups they were trained on, tables, and what stage head prints."""

    networks: dict[str, tuple[CNNHead, np.ndarray]]
    tables: dict[str, pd.DataFrame]
    numbers: dict[str, Any]


def classify(
    streams: Ragged, labeled: Labeled, sae: SAE, asked: Asked, device: str = "cpu"
) -> Classified:
    """Train heads (a seed each), rivals and the published form; compare on test groups.

    ``sae``: its mean codes are one of the linear rivals. Rivals are trained on the same `train`
    groups and, where they stop early, stop by the same `select` groups.
    """
    train, select, test = (labeled.of_split(split) for split in ("train", "select", "test"))
    label, group = labeled.label, labeled.group
    texts = labeled.frame.sequence.tolist()
    codes = encoded(texts)
    columns = sequence_columns(texts, streams.lengths)
    means = mean_streams(streams)
    linear = columns | {
        "hidden mean": means,
        "principal components": principal(means, train),
        "code mean": _mean_codes(streams, sae),
    }
    budget = Budget(asked.one_hot_epochs)
    split = published_split(len(label), asked.seed)

    def trained(seed: int) -> Callable[[], tuple[CNNHead, list[dict[str, float]], np.ndarray]]:
        def one() -> tuple[CNNHead, list[dict[str, float]], np.ndarray]:
            training = Training(asked.epochs, asked.batch, asked.seed + seed)
            found = train_head(streams, label, train, select, training, device)
            return found.network, found.course, _scores(found.network, streams, test, device)

        return one

    def published() -> tuple[CNNHead, list[dict[str, float]], np.ndarray]:
        training = PUBLISHED._replace(seed=asked.seed)
        found = train_head(streams, label, split.train, split.held, training, device)
        return found.network, found.course, _scores(found.network, streams, split.test, device)

    def one_hot() -> tuple[None, list[dict[str, float]], np.ndarray]:
        margin = one_hot_margin(codes, label, train, select, budget, asked.seed, device)
        return None, [], margin[test]

    names = ["onehot", "published", *(f"seed_{seed}" for seed in asked.seeds)]
    jobs: list[Callable[[], tuple[CNNHead | None, list[dict[str, float]], np.ndarray]]]
    jobs = [one_hot, published, *(trained(seed) for seed in asked.seeds)]
    done = dict(
        zip(
            names,
            in_processes(lambda i: jobs[i](), range(len(jobs)), "training heads", unit="head"),
        )
    )
    first = f"seed_{asked.seeds[0]}"
    scores = {"head": done[first][2], "onehot": done["onehot"][2]} | {
        name: fit_logistic(x[train], label[train]).margin(x[test]) for name, x in linear.items()
    }
    compared = compare_scores(scores, label[test], group[test], asked.bootstrap, asked.seed)
    fold = grouped_folds(group, asked.folds, asked.seed)
    folded = cross_fitted(
        columns, codes if asked.one_hot_folds else None, label, group, fold, budget, asked.seed
    )
    over_all = compare_scores(folded, label, group, asked.bootstrap, asked.seed)
    networks = {
        name: (network, np.unique(group[split.train if name == "published" else train]))
        for name, (network, _, _) in done.items()
        if network is not None
    }
    where = labeled.frame[["id", "group", "split"]].assign(fold=fold)
    course = [{"head": name} | row for name, (_, rows, _) in done.items() for row in rows]
    tables = {
        "rivals": compared.table(),
        "folds": over_all.table()[["reads", "auc", "low", "high"]],
        "split": where,
        "scores": labeled.frame.iloc[test][["id", "group"]].assign(positive=label[test], **scores),
        "course": pd.DataFrame(course),
    }
    leads = {name: compared.lead[name] for name in DECISIVE}
    margin = done["published"][2]
    another = published_split(len(label), asked.seed + 1)
    numbers = {
        "auc": compared.areas["head"].value,
        "low": compared.areas["head"].low,
        "high": compared.areas["head"].high,
        "accuracy": float(((scores["head"] > 0) == label[test]).mean()),
        "seeds": [area_under_roc(done[f"seed_{s}"][2], label[test]) for s in asked.seeds],
        "rivals": tables["rivals"].to_dict("records"),
        "least_lead": min(lead.value for lead in leads.values()),
        "least_lead_low": min(lead.low for lead in leads.values()),
        "not_beaten": [name for name, lead in leads.items() if not lead.low > 0],
        "folds": tables["folds"].to_dict("records"),
        "published_accuracy": float(((margin > 0) == label[split.test]).mean()),
        "published_auc": area_under_roc(margin, label[split.test]),
        "published_test_seen": shared_share(split.train, another.test),
        "published_groups_seen": shared_share(group[split.train], group[split.test]),
    }
    return Classified(networks, tables, numbers)


def _scores(network: CNNHead, streams: Ragged, rows: np.ndarray, device: str) -> np.ndarray:
    return margins(logits(network, streams.subset(rows), device))


def _mean_codes(streams: Ragged, sae: SAE) -> np.ndarray:
    """(S, m) mean activation of each feature over a sequence's tokens."""
    out = np.zeros((len(streams), sae.m))
    for at in range(0, len(streams), 512):
        part = streams.subset(np.arange(at, min(len(streams), at + 512)))
        dense = sae.encode(np.asarray(part.values[part.rows], np.float32)).dense()
        starts = part.offsets[:-1]
        out[at : at + len(part)] = np.add.reduceat(dense, starts) / part.lengths[:, None]
    return out
