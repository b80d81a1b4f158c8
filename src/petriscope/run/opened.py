"""A finished run is opened in a notebook: everything it made, loaded when first asked for."""

from __future__ import annotations

import dataclasses
import difflib
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.names import did_you_mean
from petriscope.run.params import load_params
from petriscope.run.studies import Study
from petriscope.run.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from petriscope.sae.coder import SAE
    from petriscope.sae.codes import Codes


def open_run(path: str | Path) -> Run:
    """Open a finished run.

    Parameters
    ----------
    path : str or Path
        The workspace it ran in, or a folder inside it.

    Returns
    -------
    Run
        Its study, parameters, units, tokens, model, inputs, autoencoders, codes, features and
        claims. Nothing is read before it is asked for.

    Raises
    ------
    UserError
        Where there is no workspace, or nothing has run in it.

    Examples
    --------
    >>> open_run("nowhere")
    Traceback (most recent call last):
    petriscope.errors.UserError: ...: is no folder. Name the workspace of a finished run.
    """
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        remedy = "Name the workspace of a finished run."
        raise UserError("is no folder", file=folder, remedy=remedy)
    run = Run(find_workspace(folder))
    if not run.stages:
        raise UserError(
            "holds no finished run",
            file=run.workspace.root,
            remedy="Run `petriscope reproduce` there first.",
        )
    return run


class Run:
    """A finished run. Attributes beyond those below are its study's own: `dir(run)` lists them."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @cached_property
    def study(self) -> Study:
        """The study that ran."""
        return self.workspace.study

    @cached_property
    def params(self) -> Any:
        """Its params.yaml, as the study's frozen dataclass."""
        return load_params(self.workspace.params)

    @cached_property
    def stages(self) -> list[str]:
        """Stages that have run: those with metrics."""
        return sorted(path.stem for path in (self.workspace.results / "metrics").glob("*.json"))

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The claims ledger, a row a claim: published value, ours, interval, verdict and why."""
        import pandas as pd

        path = self.workspace.figures / "claims.json"
        if not path.is_file():
            raise UserError("does not exist yet", file=path, remedy="Run `petriscope reproduce`.")
        return pd.DataFrame(read_json(path)["claims"]).set_index("id")

    def metrics(self, stage: str) -> dict[str, Any]:
        """The numbers that a stage found. Raises UserError for a stage that has not run."""
        if stage not in self.stages:
            remedy = did_you_mean(stage, self.stages, kind="Have run")
            raise UserError(f"no stage {stage!r} has run", file=self.workspace.root, remedy=remedy)
        return read_json(self.workspace.metrics(stage))

    def table(self, stage: str, name: str) -> pd.DataFrame:
        """A table that a stage wrote below results/, `.csv` or `.parquet`."""
        import pandas as pd

        path = self.workspace.table(stage) / name
        if not path.is_file():
            there = sorted(p.name for p in path.parent.glob("*.*")) if path.parent.is_dir() else []
            remedy = f"There are: {', '.join(there)}." if there else "Run that stage first."
            raise UserError("does not exist", file=path, remedy=remedy)
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)

    def sae(self, layer: int, seed: int | None = None) -> SAE:
        """The autoencoder of a layer; ``seed`` None is the one that was probed."""
        from petriscope.sae.coder import SAE

        number = self.params.sae.seeds[0] if seed is None else seed
        return SAE.load(self._layer(self.workspace.sae, layer) / f"seed_{number}")

    def codes(self, layer: int) -> Codes:
        """The sparse codes of every token of a layer, memory-mapped, with the token axis."""
        from petriscope.sae.codes import Codes

        codes = Codes.load(self._layer(self.workspace.codes, layer) / "codes")
        if codes.tokens is None and "tokens" in self.study.opened:
            codes = dataclasses.replace(codes, tokens=self.tokens)
        return codes if codes.layer is not None else dataclasses.replace(codes, layer=layer)

    @staticmethod
    def _layer(folder: Path, layer: int) -> Path:
        there = sorted(int(p.name[6:]) for p in folder.glob("layer_*") if p.name[6:].isdigit())
        if layer not in there:
            remedy = f"Layers: {', '.join(map(str, there))}." if there else "Run that stage first."
            raise UserError(f"has no layer {layer}", file=folder, remedy=remedy)
        return folder / f"layer_{layer}"

    def __getattr__(self, name: str) -> Any:
        """What the study adds, loaded once."""
        if name.startswith("_") or name in ("study", "workspace"):
            raise AttributeError(name)
        loaders = self.study.opened
        if name not in loaders:
            close = difflib.get_close_matches(name, dir(self), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise AttributeError(f"a run of study {self.study.name} has no {name!r}{hint}")
        self.__dict__[name] = loaders[name](self)
        return self.__dict__[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.study.opened})

    def _summary(self) -> list[tuple[str, str]]:
        rows = [
            ("study", f"{self.study.name}: {self.study.line}"),
            ("workspace", str(self.workspace.root)),
            ("data set", self.params.dataset),
            ("parameters", self.params.digest()),
            ("stages run", str(len(self.stages))),
        ]
        if (self.workspace.figures / "claims.json").is_file():
            counts = self.claims.verdict.value_counts()
            rows.append(("claims", ", ".join(f"{n} {verdict}" for verdict, n in counts.items())))
        offered = ["params", "claims", "metrics(stage)", "table(stage, name)"]
        rows.append(("offers", ", ".join([*offered, *sorted(self.study.opened)])))
        return rows

    def plot(self) -> Figure:
        """How many claims have each verdict. Raises UserError where none has been checked."""
        from matplotlib.ticker import MaxNLocator

        from petriscope.shown import INK, panel

        counts = self.claims.verdict.value_counts()[::-1]
        figure, axes = panel(5.2, 1.0 + 0.35 * len(counts))
        axes.barh(list(counts.index), counts.to_numpy(), color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("claims")
        return figure

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self._summary())
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self._summary())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in self._summary()
        )
        return f"<table>{rows}</table>"
