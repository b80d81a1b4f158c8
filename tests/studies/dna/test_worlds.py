"""The ledger of study dna is right in planted worlds whose truth is known: nothing is "supported"
where the world says no.

Reference: the simulator's own settings. What is true in a world is written down in `NO` before any
of them was run, from what the simulator plants:

- labels drawn at random (motif off): nothing in a sequence tells its class, so no claim about the
  classes holds, whether or not the classes differ in length;
- rule learnt: the model knows a rule between distant words, so features are not local and not mere
  low-entropy syntax;
- in every world the tracks are made of whole tokens, which a random embedding tells apart as well as
  a trained one, so early layers do not carry them best; and a decoy track has nothing beneath it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from petriscope.run.params_edit import override
from petriscope.run.snapshot import refresh_code
from petriscope.run.stage import run_all
from petriscope.run.studies import find_study
from petriscope.run.workspace import create_workspace
from petriscope.studies.dna.data.simulate import simulate_demo

pytestmark = pytest.mark.slow


class World(NamedTuple):
    """The settings of the simulator, and how long the model is trained."""

    rule: str
    motif: bool
    confound: bool
    model_tokens: int = 300_000


WORLDS = {
    "labels at random": World("absent", motif=False, confound=False),
    "lengths alone": World("absent", motif=False, confound=True),
    "motif": World("absent", motif=True, confound=False),
    "motif and lengths": World("absent", motif=True, confound=True),
    "rule learnt": World("learnt", motif=True, confound=False, model_tokens=2_000_000),
}
CLASSES = ("kg-few", "kg-diff", "head-acc", "off-switch", "dimmer", "asymmetry", "go")
NO: Mapping[str, tuple[str, ...]] = {
    "labels at random": ("nt-depth", *CLASSES),
    "lengths alone": ("nt-depth", *CLASSES),
    "motif": ("nt-depth",),
    # nothing that the length could tell as well: the classes share no length
    "motif and lengths": ("nt-depth", *CLASSES[:-1]),
    "rule learnt": ("nt-depth", "local", "entropy"),
}
YES: Mapping[str, tuple[str, ...]] = {
    "labels at random": (),
    "lengths alone": (),
    "motif": ("dimmer",),
    "motif and lengths": (),
    "rule learnt": ("dimmer",),
}
"""What the reduced sizes have the power to find."""
REDUCED: Mapping[str, Any] = {
    "model.layers": 2,
    "sae.latents": 192,
    "sae.tokens": 100_000,
    "sae.seeds": [0],
    "sae.gate.fvu": 0.5,  # the demo has six times the tokens
    "expansions.run": False,  # sae-sparse is true or false of any world
    "cds.permutations": 1000,
    "cds.bootstrap": 200,
    "cds.min_events": 20,
    "contigs.tokens": 15_000,
    "tracks.shifts": 100,
    "graph.draws": 20,
    "graph.curveball": 20,
    "head.epochs": 12,
    "head.seeds": [0],
    "head.folds": 2,
    "head.one_hot_epochs": 5,
    "interventions.doses": [0, 0.5, 1, 2],
    "interventions.features": 10,
    "interventions.random": 20,
    "interventions.sequences": 250,
    "dependency.sequences": 8,
    "dependency.features": 16,
    "dependency.positions": 16,
    "entropy.ks": [2, 4, 6, 8],
    "entropy.tokens": 15_000,
    "entropy.shifts": 100,
    "figures.dpi": 50,
}
SEQUENCES, TOKENS = 1200, 48


def run_world(root: Path, world: World) -> Path:
    """All stages on a planted world of 1,200 sequences of 48 tokens; returns the workspace's folder."""
    workspace = create_workspace(root, study=find_study("dna"))
    simulate_demo(
        workspace.root / "data/world",
        rule=world.rule,
        motif=world.motif,
        confound=world.confound,
        sequences=SEQUENCES,
        tokens=TOKENS,
    )
    override(
        workspace.params,
        {"dataset": "data/world", **REDUCED, "model.tokens": world.model_tokens},
    )
    refresh_code(workspace.root)
    run_all(workspace)
    return workspace.root


def metrics(root: Path, stage: str) -> dict[str, Any]:
    """What a stage printed."""
    found: dict[str, Any] = json.loads((root / f"results/metrics/{stage}.json").read_text())
    return found


def verdicts(root: Path) -> dict[str, str]:
    """Claim → verdict."""
    ledger = json.loads((root / "paper_figures/claims.json").read_text())
    return {claim["id"]: claim["verdict"] for claim in ledger["claims"]}


@pytest.fixture(scope="module", params=[pytest.param(name, id=name) for name in WORLDS])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of a world, and the folder of a run on it."""
    name = str(request.param)
    return name, run_world(tmp_path_factory.mktemp("world") / "run", WORLDS[name])


def test_nothing_is_supported_that_the_world_makes_false(world: Any) -> None:
    name, root = world
    found = verdicts(root)
    assert set(NO[name]) <= set(found)
    assert [claim for claim in NO[name] if found[claim] == "supported"] == []


def test_what_the_world_makes_true_is_found(world: Any) -> None:
    name, root = world
    found = verdicts(root)
    assert {claim: found[claim] for claim in YES[name]} == dict.fromkeys(YES[name], "supported")


def test_a_track_with_nothing_beneath_it_is_not_found(world: Any) -> None:
    _, root = world
    tracks = metrics(root, "tracks")
    assert tracks["found"] >= 1  # the real ones are, or nothing is shown
    assert (tracks["decoys"], tracks["decoys_found"]) == (1, 0)


def test_the_rule_is_known_where_it_is_learnt_and_nowhere_else(world: Any) -> None:
    name, root = world
    rule = metrics(root, "dependency")["rule"]
    assert rule["untestable"] is None
    assert rule["above_chance"] == rule["followed"] == (WORLDS[name].rule == "learnt")
