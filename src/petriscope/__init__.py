"""Petriscope reads what a foundation model of biology knows with sparse autoencoders, and tests it.

The names below are the public face; each is loaded when it is first used, so that
`import petriscope` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Codes": "petriscope.sae.codes:Codes",
    "Design": "petriscope.contrast.design:Design",
    "Direction": "petriscope.causal.directions:Direction",
    "Hidden": "petriscope.probe.harvest:Hidden",
    "Inputs": "petriscope.probe.model:Inputs",
    "ProbeOutput": "petriscope.probe.model:ProbeOutput",
    "SAE": "petriscope.sae.coder:SAE",
    "Tokens": "petriscope.probe.tokens:Tokens",
    "UserError": "petriscope.errors:UserError",
    "ablate": "petriscope.causal.ablate:ablate",
    "clamp": "petriscope.causal.ablate:clamp",
    "contrast": "petriscope.contrast",
    "difference_of_means": "petriscope.causal.directions:difference_of_means",
    "enrich": "petriscope.enrich",
    "harvest": "petriscope.probe.harvest:harvest",
    "open": "petriscope.run.opened:open_run",
    "probe": "petriscope.probe",
    "scale": "petriscope.causal.ablate:scale",
    "steer": "petriscope.causal.steer:steer",
    "swap": "petriscope.causal.steer:swap",
    "train_sae": "petriscope.sae.train:train_sae",
    "units": "petriscope.contrast.design:Units",
}
"""public name -> module:name, or a package that is a verb"""

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'petriscope' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = importlib.import_module(module)
    globals()[name] = found = getattr(found, attribute) if attribute else found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
