"""Each study is a sub-package of `petriscope.studies`; its `study.STUDY` says what it brings.

A study is found by its name, so that nothing here imports one before it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from petriscope.errors import UserError
from petriscope.names import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from petriscope.atlas.build import AtlasTables
    from petriscope.claims.multiplicity import Adjusted
    from petriscope.contrast.design import Design
    from petriscope.probe.model import Inputs, ProbedModel
    from petriscope.run.fixtures import FixtureKind
    from petriscope.run.params import Params
    from petriscope.run.workspace import Workspace

PACKAGE = "petriscope.studies"
SHARED_STAGES = "petriscope.stages"
DEFAULT = "chromatin"
"""the study of a workspace whose params.yaml names none: the one at the top of the repository"""


class DataSet(Protocol):
    """What a run says of its data before it starts."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def root(self) -> Path: ...

    def untestable(self) -> Sequence[str]:
        """What this data set cannot support, one sentence each."""
        ...


class Checked(Protocol):
    """What a look at every file of a data set found, before any work."""

    def lines(self) -> Sequence[str]:
        """All that was understood, as tables."""
        ...

    def brief(self) -> Sequence[str]:
        """What matched nothing, what is wrong, and how much was looked at."""
        ...

    def refuse(self) -> None:
        """Raise `UserError` for the first thing that is wrong."""
        ...


class Parity(NamedTuple):
    """How far this machine's arithmetic is from that on which the study's model was checked."""

    model: str
    error: float
    """relative, the largest of what is compared."""
    allowed: float


class Audit(NamedTuple):
    """How a study recomputes what its paper states from the tables that the authors released."""

    files: tuple[str, ...]
    """Names of those tables, by which a folder is known."""
    table: Callable[[Path, Path | None], pd.DataFrame]
    """Given the folder, and a GMT file or None: columns claim, stated (what the paper says),
    recomputed and how (the computation in words)."""
    atlas: Callable[[Path, Path | None], AtlasTables] | None = None
    """Given the same, the released features as an atlas whose claims are those of the audit; None
    where no features were released."""


@dataclass(frozen=True)
class Study:
    """What differs between studies. The functions import what they need when they are called."""

    name: str
    """also that of its sub-package."""
    line: str
    """What it asks, in one line."""
    params: type[Params]
    """The whole of its params.yaml."""
    dataset: Callable[[str | Path], DataSet]
    """Reads and checks the data set in a folder."""
    demo: Callable[[Path], None]
    """Makes the demo in a folder that is not there yet."""
    tiny: Callable[[Path], Workspace]
    """Makes a workspace whose whole graph runs in a minute or two: for checks, not science."""
    design: Callable[[Workspace, Any], Design] | None = None
    """Who is compared in a run, given its workspace and parameters; None where the study has no
    contrast."""
    recovered: Callable[[Workspace, Any, Any], Mapping[Any, Any]] | None = None
    """What the probed model loses when a dictionary's reconstruction takes the place of its stream:
    given workspace, parameters and the trained dictionaries by (layer, seed), columns of the
    quality table by the same key. None where the model has no readout."""
    probed: Callable[[Workspace, Any], tuple[ProbedModel, Inputs]] | None = None
    """The probed model of a run, on its device, and its inputs, given workspace and parameters:
    what dictionaries trained without stored hidden states read. None where there is none."""
    tests: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Tables that hold adjusted p-values, for the ledger of tests: stage → their names."""
    adjusted: Callable[[], Sequence[Adjusted]] = lambda: ()
    """Columns of adjusted p-values in its own tables, for the same ledger."""
    released: Sequence[str] = ()
    """What training makes, as patterns of files in `results/`: with these nothing trains. Empty
    where the study releases no weights."""
    folder: str = "."
    """Its workspace, relative to the top of the repository."""
    parity: Callable[[], Parity] | None = None
    check: Callable[[str | Path], Checked] | None = None
    """Looks at every file of the data set in a folder, within seconds."""
    data: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Verbs of `petriscope data`, whose names no two studies share: name → (module, one line of
    help)."""
    unseen: Callable[[Workspace, Any], Mapping[str, str]] = lambda workspace, params: {}
    """Stages to run again for a reason that DVC does not see, with that reason."""
    audit: Audit | None = None
    """`petriscope audit DIR`; None where the paper's tables were not released."""
    fixtures: Callable[[], Sequence[FixtureKind]] = lambda: ()
    """Kinds of parity fixtures that it can compute again (`petriscope verify --parity`)."""
    opened: Mapping[str, Callable[[Any], object]] = field(default_factory=dict)
    """What a finished run offers in a notebook: attribute → its loader, given the run."""

    def stage(self, name: str) -> str:
        """The module of a stage: the study's own, else the one that all studies share.

        Raises `UserError` where there is neither.
        """
        for package in (f"{PACKAGE}.{self.name}.stages", SHARED_STAGES):
            if name.isidentifier() and _exists(package) and _exists(f"{package}.{name}"):
                return f"{package}.{name}"
        raise UserError(
            f"has no stage {name!r}",
            field=f"study {self.name}",
            remedy=f"A stage is a module of {PACKAGE}.{self.name}.stages or {SHARED_STAGES}.",
        )


def study_names() -> list[str]:
    """Names of all studies, the default one first."""
    package = importlib.import_module(PACKAGE)
    found = sorted(item.name for item in pkgutil.iter_modules(package.__path__) if item.ispkg)
    return sorted(found, key=lambda name: name != DEFAULT)


def find_study(name: str, source: Path | None = None) -> Study:
    """The record of a study, which the file ``source`` named.

    Raises `UserError` for a name that is none, with the nearest one.
    """
    names = study_names()
    if name not in names:
        remedy = did_you_mean(name, names, kind="Studies")
        where = None if source is None else "study"
        raise UserError(f"no study {name!r}", file=source, field=where, remedy=remedy)
    return importlib.import_module(f"{PACKAGE}.{name}.study").STUDY


def _exists(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
