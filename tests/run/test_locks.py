"""The lock files against pyproject.toml: `packaging` says whether the ranges admit the pins, and
its markers who is needed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = REPOSITORY / "requirements"
IMAGE = {
    "python_version": "3.11",
    "python_full_version": "3.11.2",
    "sys_platform": "linux",
    "platform_machine": "x86_64",
}
REMEDY = "run `python requirements/lock.py` and commit requirements/"


def pins(name: str) -> dict[str, Version]:
    """Package → version that a lock file pins."""
    lines = re.findall(
        r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([^\s;\\]+)", (LOCKS / name).read_text()
    )
    return {canonicalize_name(package): Version(version) for package, version in lines}


def declared() -> list[Requirement]:
    """What the image installs: the dependencies and the extras that lock.py names."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = re.search(r"(?m)^EXTRAS = \((.*)\)$", (LOCKS / "lock.py").read_text())
    assert extras is not None
    texts = list(project["dependencies"])
    for extra in re.findall(r'"([^"]+)"', extras[1]):
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("torch", ["torch-cpu.lock", "torch-cuda.lock"])
def test_the_ranges_of_pyproject_admit_what_the_locks_pin(torch):
    pinned = pins("base.lock") | pins(torch)
    for requirement in declared():
        if requirement.marker is not None and not requirement.marker.evaluate(IMAGE):
            continue
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is in no lock: {REMEDY}"
        assert version in requirement.specifier, (
            f"{requirement} does not admit the locked {version}: {REMEDY}"
        )


def test_both_torch_locks_pin_one_release_and_the_base_lock_none():
    cpu, cuda = pins("torch-cpu.lock"), pins("torch-cuda.lock")
    assert (
        cpu["torch"].public == cuda["torch"].public
        and cpu["torch"].local == "cpu"
        and cuda["torch"].local is None
    )
    assert set(cpu) == {"torch"} and any(name.startswith("nvidia-") for name in cuda)
    assert not set(cuda) & set(pins("base.lock"))


@pytest.mark.parametrize("lock", sorted(path.name for path in LOCKS.glob("*.lock")))
def test_every_entry_of_a_lock_has_hashes(lock):
    text = (LOCKS / lock).read_text()
    entries = re.findall(r"(?m)^[A-Za-z0-9].*(?:\n[ \t]+.*)*", text)
    assert len(entries) == len(pins(lock)) > 0
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), (
            f"{lock}: no hash for {entry.splitlines()[0]}"
        )
    assert not re.search(r"(?i)file:|find-links|localhost|127\.0\.0\.1", text), (
        f"{lock} names a place of one machine"
    )
