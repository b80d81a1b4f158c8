"""Who runs the tasks is said on the command line, in the environment, or in a file of the user's
home: never in params.yaml, since the machine is no part of a result."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.names import did_you_mean

NAMES = ("local", "slurm", "ray")
VARIABLE = "PETRISCOPE_EXECUTOR"


@dataclass(frozen=True)
class Settings:
    """`executor.yaml`: what the cluster wants to be told."""

    executor: str = "local"
    partition: str | None = None
    account: str | None = None
    setup: tuple[str, ...] = ()
    """lines of shell before the program (`module load …`, an environment)"""
    options: tuple[str, ...] = ()
    """further options of sbatch"""
    memory_gb: float | None = None
    """of a task, in place of what the stage asks for"""
    minutes: int | None = None
    limit: int = 32
    """tasks that run at once"""
    address: str | None = None
    """of the Ray cluster"""
    settle: float = 5.0
    """seconds after which a file that another node wrote is seen here"""
    poll: float = 2.0
    """seconds between two looks at the queue"""


def config_file() -> Path:
    """Where the user's settings lie."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "petriscope" / "executor.yaml"


def load_settings(path: Path | None = None) -> Settings:
    """The user's settings; those of no file are `Settings()`. Raises `UserError`."""
    path = path or config_file()
    if not path.is_file():
        return Settings()
    import yaml

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"is no YAML ({first})", file=path, remedy="Mend the line.") from None
    if not isinstance(given, Mapping):
        raise UserError("is no mapping", file=path, remedy="Write `partition: NAME` and the like.")
    kinds = {entry.name: str(entry.type) for entry in dataclasses.fields(Settings)}
    return Settings(**{key: _checked(key, value, kinds, path) for key, value in given.items()})


def _checked(key: str, value: Any, kinds: Mapping[str, str], path: Path) -> Any:
    if key not in kinds:
        remedy = did_you_mean(key, kinds, kind="Entries")
        raise UserError("is no entry", file=path, field=key, remedy=remedy)
    kind = kinds[key]
    if kind.startswith("tuple"):
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            raise UserError("is no list of lines", file=path, field=key, remedy="Give `- LINE`.")
        return tuple(value)
    number = kind.startswith(("int", "float"))
    right: Any = (int, float) if kind.startswith("float") else int if number else str
    wrong = not isinstance(value, right) or isinstance(value, bool)
    if wrong or (number and value < (key == "limit")):
        remedy = f"Give a {'number' if number else 'word'}."
        raise UserError(f"is {value!r}", file=path, field=key, remedy=remedy)
    if key == "executor":
        _known(value, file=path, field=key)
    return value


def choose(asked: str | None) -> Settings:
    """The settings with the executor that is asked for, else that of the environment, else that of
    the file. Raises `UserError` for one that does not exist."""
    settings = load_settings()
    for name, field in ((asked, "--executor"), (os.environ.get(VARIABLE), VARIABLE)):
        if name:
            _known(name, field=field)
            return dataclasses.replace(settings, executor=name)
    return settings


def _known(name: str, *, field: str, file: Path | None = None) -> None:
    if name not in NAMES:
        remedy = did_you_mean(name, NAMES, kind="Executors")
        raise UserError(f"is {name!r}", file=file, field=field, remedy=remedy)
