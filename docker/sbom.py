"""Bill of materials of the image in CycloneDX JSON: `sbom.py PYTHON OUT` lists that interpreter's
and Debian's packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote


def python_packages(python: str) -> dict[str, Any]:
    """The bill that cyclonedx-py writes for an installed environment."""
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        python,
        "--output-reproducible",
        "-o",
        "-",
    ]
    return dict(
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    )


def debian_packages() -> list[dict[str, Any]]:
    """One component per installed Debian package, by package URL."""
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release")
        .read_text(encoding="utf-8")
        .replace('"', "")
        .splitlines()
        if "=" in line
    )
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n"],
        check=True,
        capture_output=True,
        text=True,
    )
    components = []
    for name, version, architecture in sorted(line.split() for line in listed.stdout.splitlines()):
        distribution = f"{release['ID']}-{release['VERSION_ID']}"
        package = f"{quote(name)}@{quote(version, safe='')}"
        url = f"pkg:deb/{release['ID']}/{package}?arch={architecture}&distro={distribution}"
        components.append(
            {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}
        )
    return components


def main() -> None:
    """Write the merged bill."""
    python, out = sys.argv[1:]
    bill = python_packages(python)
    bill["components"] = bill.get("components", []) + debian_packages()
    Path(out).write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    print(f"{len(bill['components'])} components")


if __name__ == "__main__":
    main()
