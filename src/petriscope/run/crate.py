"""A finished run is bundled as an RO-Crate: figures, tables, claims, records, and one action per
stage that says what made what.

Profile: Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5), written with the `rocrate`
library.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from petriscope import __version__
from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, claim, read_json
from petriscope.run.chain import Records
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.textfile import read_yaml_text

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
LARGE = 2**26
"""bytes; larger outputs are described by their hash and left out"""
CRATE = Output("a crate", ("ro-crate-metadata.json", "*"), lambda path: False)
"""A crate is never replaced, not even by one."""
TEXTS = ("params.yaml", "dvc.yaml", "claims.yaml", "dvc.lock")


def write_crate(workspace: Workspace, out: Path) -> int:
    """Write the crate into the new folder ``out``; returns the number of files in it.

    Raises `UserError` where the run is unfinished or changed since, `out` exists, or the library is
    absent.
    """
    try:
        from rocrate.rocrate import ROCrate
    except ImportError:
        remedy = "Install it: pip install 'petriscope[crate]'."
        raise UserError("needs the package rocrate", field="crate", remedy=remedy) from None
    if out.exists():
        raise UserError("exists already", file=out, remedy="Name a new folder.")
    inputs = (workspace.results, workspace.figures, workspace.root / "code")
    out = claim(out, CRATE, inputs=inputs)
    held = Records(workspace)
    absent = [name for name, record in held.records.items() if record is None]
    if absent:
        raise UserError(
            f"no record of {', '.join(absent)}",
            file=workspace.root,
            remedy="Run `petriscope reproduce`.",
        )
    crate = ROCrate()
    dataset = _describe(crate, workspace)
    entities = _Entities(crate, workspace, held, dataset)
    for name, record in held.records.items():
        if record is not None:
            entities.add_stage(name, record)
    crate.root_dataset["mentions"] = entities.actions
    with atomic_folder(out, CRATE) as folder:
        crate.write(folder)
        shutil.copyfile(workspace.params, folder / "params.yaml")
    return sum(1 for path in out.rglob("*") if path.is_file())


def _describe(crate: Any, workspace: Workspace) -> Mapping[str, Any]:
    """Name, license, profile and the files that define the run; returns the data set's own
    description."""
    from rocrate.model.contextentity import ContextEntity

    params = load_params(workspace.params)
    description = workspace.dataset(params.dataset) / "dataset.yaml"
    dataset = read_yaml_text(description) if description.is_file() else {}
    crate.name = f"Petriscope {__version__} on data set {dataset.get('name', params.dataset)}"
    crate.description = (
        "Sparse-autoencoder probes of EpiBERT: figures, tables, claims ledger and the record of "
        "every stage"
    )
    crate.license = crate.add(
        ContextEntity(
            crate,
            "https://spdx.org/licenses/MIT",
            properties={
                "@type": "CreativeWork",
                "name": f"Code: MIT. Data set: {dataset.get('licence', 'see the data set')}",
            },
        )
    )
    profile = ContextEntity(
        crate,
        PROFILE,
        properties={"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
    )
    crate.root_dataset["conformsTo"] = [crate.add(profile)]
    for name in TEXTS:
        path = workspace.root / name
        if path.is_file():
            crate.add_file(
                path, name, properties={"name": name, "encodingFormat": "application/yaml"}
            )
    return dataset


class _Entities:
    """Files, data sets, the software and the actions of a crate, each added once."""

    def __init__(
        self, crate: Any, workspace: Workspace, held: Records, dataset: Mapping[str, Any]
    ) -> None:
        self.crate, self.workspace, self.held, self.dataset = crate, workspace, held, dataset
        self.known: dict[str, Any] = {}
        self.actions: list[Any] = []

    def add_stage(self, name: str, record: Mapping[str, Any]) -> None:
        """A CreateAction: instrument, objects (inputs), results (outputs)."""
        from rocrate.model.contextentity import ContextEntity

        record_path = self.workspace.provenance(name)
        action = ContextEntity(
            self.crate,
            f"#stage-{name}",
            properties={
                "@type": "CreateAction",
                "name": record["command"],
                "description": f"{record['seconds']:g} s on {record['cpu']}, device "
                f"{record['device']}; "
                f"parameters {record['params_digest']}",
                "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"},
            },
        )
        self.crate.add(action)
        action["instrument"] = self._software(record)
        action["agent"] = self._agent()
        action["object"] = [self._path(path, entry) for path, entry in record["inputs"].items()]
        action["result"] = [self._path(path, entry) for path, entry in record["outputs"].items()]
        log = record_path.relative_to(self.workspace.root).as_posix()
        action["subjectOf"] = self.crate.add_file(
            record_path, log, properties={"encodingFormat": "application/json"}
        )
        self.actions.append(action)

    def _software(self, record: Mapping[str, Any]) -> Any:
        from rocrate.model.contextentity import ContextEntity

        identifier = f"#petriscope-{record['source'][:10]}"
        if identifier not in self.known:
            versions = ", ".join(
                f"{name} {version}" for name, version in record["packages"].items()
            )
            properties = {
                "@type": "SoftwareApplication",
                "name": "Petriscope",
                "softwareVersion": f"{__version__}, revision {record['revision']}",
                "sha256": record["source"],
                "softwareRequirements": f"Python {record['python']}, {versions}",
            }
            self.known[identifier] = self.crate.add(
                ContextEntity(self.crate, identifier, properties=properties)
            )
        return self.known[identifier]

    def _agent(self) -> Any:
        from rocrate.model.contextentity import ContextEntity

        if "#agent" not in self.known:
            properties = {"@type": "Person", "name": "the user who ran the pipeline"}
            self.known["#agent"] = self.crate.add(
                ContextEntity(self.crate, "#agent", properties=properties)
            )
        return self.known["#agent"]

    def _path(self, path: str, entry: Mapping[str, Any]) -> Any:
        """A file or folder of the run: carried along where it is a small result, else described by
        its hash."""
        from rocrate.model.contextentity import ContextEntity

        if path in self.known:
            return self.known[path]
        here = self.workspace.root / path
        made = self.held.maker(path) is not None
        facts: dict[str, Any] = {
            "name": path,
            "sha256": entry["sha256"],
            "contentSize": str(entry["bytes"]),
        }
        if not made and path == load_params(self.workspace.params).dataset:
            facts |= {
                "description": self.dataset.get("description"),
                "license": self.dataset.get("licence"),
            }
        if made and entry["bytes"] < LARGE and here.exists():
            add = self.crate.add_dataset if here.is_dir() else self.crate.add_file
            self.known[path] = add(here, path, properties=facts)
        else:
            kind = "Dataset" if entry.get("files") or here.is_dir() else "CreativeWork"
            described = ContextEntity(self.crate, f"#{path}", properties={"@type": kind, **facts})
            self.known[path] = self.crate.add(described)
        return self.known[path]


def summary(out: Path) -> tuple[int, int]:
    """(actions, data entities) of a crate as the library reads it back."""
    from rocrate.rocrate import ROCrate

    crate = ROCrate(out)
    actions = [entity for entity in crate.contextual_entities if entity.type == "CreateAction"]
    metadata = read_json(out / "ro-crate-metadata.json")
    if not metadata.get("@graph"):
        raise UserError(
            "has no entities", file=out / "ro-crate-metadata.json", remedy="Write the crate again."
        )
    return len(actions), len(crate.data_entities)
