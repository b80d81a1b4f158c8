"""Write the lock files from pyproject.toml: `python requirements/lock.py` (needs `uv`; see
docs/container.md).

base.lock        everything but torch, every archive by hash torch-cuda.lock  torch as PyPI has it,
with the CUDA libraries it bundles torch-cpu.lock   torch of the same version from PyTorch's CPU
index build.lock       what builds the wheel of this project and the one dependency that ships
sources only sbom.lock        what writes the image's bill of materials

The torch locks are installed without dependency resolution, so they and base.lock must come from
one resolution.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXTRAS = ("test", "web", "graphics")
PYTHON = "3.11"
PLATFORM = "x86_64-manylinux_2_28"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ACCELERATOR = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)")
SBOM_TOOLS = "cyclonedx-bom>=7,<8\n"
BUILD_TOOLS = "hatchling>=1.27,<2\nsetuptools\nwheel\n"
HEADER = """\
# {what}
# Linux x86_64, Python {python}. Written by requirements/lock.py from pyproject.toml; do not edit.
"""


def compile_lock(*arguments: str, stdin: str | None = None) -> dict[str, str]:
    """Resolve with `uv pip compile`: requirement name → its lines, hashes included."""
    command = [
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--generate-hashes",
        "--no-config",
    ]
    command += ["--python-version", PYTHON, "--python-platform", PLATFORM, *arguments]
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, cwd=HERE.parent
    )
    if result.returncode:
        raise SystemExit(f"uv could not resolve {' '.join(arguments)}:\n{result.stderr}")
    return entries(result.stdout)


def entries(text: str) -> dict[str, str]:
    """Split a lock into its entries: a requirement line and the indented hash lines below it."""
    found: dict[str, str] = {}
    for block in re.findall(r"(?m)^[A-Za-z0-9].*(?:\n[ \t]+.*)*", text):
        found[re.split(r"[=\[<>!~ ]", block, maxsplit=1)[0].lower()] = block
    return found


def local_pin(pin: str, folder: Path) -> str:
    """The lock entry of ``pin`` with the hashes of its wheels in ``folder``."""
    wheels = sorted(folder.glob(pin.replace("==", "-") + "-*.whl"))
    if not wheels:
        raise SystemExit(f"{folder} holds no wheel of {pin}")
    lines = [
        f"    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}" for wheel in wheels
    ]
    return " \\\n".join([pin, *lines])


def write(name: str, what: str, packages: dict[str, str], options: str = "") -> None:
    """Write one lock file, sorted by name."""
    body = "\n".join(packages[key] for key in sorted(packages))
    text = HEADER.format(what=what, python=PYTHON) + options + body + "\n"
    (HERE / name).write_text(text)
    print(f"{name}: {len(packages)} packages")


def main(argv: list[str] | None = None) -> int:
    """Resolve once, write the four files. `--cpu-wheels` takes the CPU wheel from a folder instead
    of its index."""
    parser = argparse.ArgumentParser(description="Write the lock files from pyproject.toml.")
    parser.add_argument(
        "--cpu-wheels", metavar="DIR", type=Path, help="folder with the CPU wheel of torch"
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="newest versions, not those of the present lock"
    )
    args = parser.parse_args(argv)

    held = [f"--constraint={HERE / 'held.txt'}"] if _hold(args.upgrade) else []
    extras = [argument for extra in EXTRAS for argument in ("--extra", extra)]
    try:
        everything = compile_lock("pyproject.toml", *extras, *held)
    finally:
        (HERE / "held.txt").unlink(missing_ok=True)
    accelerator = {name: block for name, block in everything.items() if ACCELERATOR.fullmatch(name)}
    base = {name: block for name, block in everything.items() if name not in accelerator}
    version = re.match(r"torch==([0-9.]+)", everything["torch"])
    if version is None:
        raise SystemExit("the resolution has no plain torch version")
    pin = f"torch=={version[1]}+cpu"
    if args.cpu_wheels:
        cpu = {"torch": local_pin(pin, args.cpu_wheels)}
    else:
        cpu = compile_lock("--no-deps", "--index-url", CPU_INDEX, "-", stdin=pin + "\n")

    write("base.lock", f"All dependencies but torch, extras {', '.join(EXTRAS)}.", base)
    write(
        "torch-cuda.lock",
        "torch for CUDA and the libraries it bundles (install with --no-deps).",
        accelerator,
    )
    options = f"--extra-index-url {CPU_INDEX}\n"
    write("torch-cpu.lock", "torch for CPU (install with --no-deps).", cpu, options)
    pins = HERE / "base.lock"
    write(
        "build.lock",
        "Build tools.",
        compile_lock("--constraint", str(pins), "-", stdin=BUILD_TOOLS),
    )
    write(
        "sbom.lock",
        "What writes the bill of materials of the image.",
        compile_lock("-", stdin=SBOM_TOOLS),
    )
    return 0


def _hold(upgrade: bool) -> bool:
    """Pin what the present locks pin, so that a new dependency changes nothing else. Returns
    whether there was any."""
    pins: list[str] = []
    for name in ("base.lock", "torch-cuda.lock"):
        if not upgrade and (HERE / name).is_file():
            pins += [
                block.split(" ", 1)[0] for block in entries((HERE / name).read_text()).values()
            ]
    if pins:
        (HERE / "held.txt").write_text("\n".join(pins) + "\n")
    return bool(pins)


if __name__ == "__main__":
    sys.exit(main())
