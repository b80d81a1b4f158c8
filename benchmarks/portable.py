"""What training that is bit-identical on every processor would cost: model and dictionary, briefly.

    python benchmarks/portable.py WORKSPACE [--repeats 3] [--windows 24] [--steps 600]

WORKSPACE holds a run of study chromatin up to its harvest. Under each setting of the numerical
libraries a process of one thread trains the demo's model on a few windows and a dictionary on the
middle layer. Printed: the least seconds of the repeats, their ratio to the native ones, and a
digest of the trained weights: equal digests are equal bytes.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ATEN, ONEDNN = "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA"
AVX2 = {ATEN: "avx2"}
PORTABLE = {
    ATEN: "default",
    ONEDNN: "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",
}
KINDS = {
    "native": {},
    "ATen default": {ATEN: "default"},
    "ATen avx2": AVX2,
    "ATen avx2, oneDNN AVX2": AVX2 | {ONEDNN: "AVX2"},
    "ATen avx2, oneDNN AVX2, MKL AVX2": AVX2 | {ONEDNN: "AVX2", "MKL_CBWR": "AVX2"},
    "ATen avx2, oneDNN AVX2, MKL AVX2 by instructions": AVX2
    | {ONEDNN: "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "ATen avx2, oneDNN AVX2, MKL COMPATIBLE": AVX2 | {ONEDNN: "AVX2", "MKL_CBWR": "COMPATIBLE"},
    "MKL COMPATIBLE alone": {"MKL_CBWR": "COMPATIBLE"},
    "all lowest": PORTABLE,
}


def train(root: Path, windows: int, steps: int) -> dict[str, float | str]:
    """Train both here; seconds and digests."""
    import dataclasses

    import numpy as np
    import torch

    from petriscope.probe.harvest import store_file
    from petriscope.run.params import load_params
    from petriscope.run.workspace import Workspace
    from petriscope.sae.config import sae_config
    from petriscope.sae.loader import TokenSource
    from petriscope.sae.train import train_dictionary
    from petriscope.studies.chromatin.inputs import Arrays, load_windows
    from petriscope.studies.chromatin.model.choose import model_config, pretrain_config
    from petriscope.studies.chromatin.model.pretrain import pretrain
    from petriscope.studies.chromatin.units import load_biosamples

    torch.set_num_threads(1)
    workspace = Workspace(root)
    params, arrays = load_params(workspace.params), Arrays.load(workspace.tracks)
    units = load_biosamples(workspace)
    conditions = (units.lineage + " " + units.context).tolist()
    frame = load_windows(workspace)
    chosen = {
        name: frame.index[frame.split == name].to_numpy()[:count]
        for name, count in (("train", windows), ("test", 1))
    }
    config = model_config(params, arrays.motif_activity.shape[1])
    how = dataclasses.replace(pretrain_config(params), epochs=1)
    begun = time.perf_counter()
    made = pretrain(
        config, how, arrays, chosen, conditions, seed=params.seed, device="cpu", evaluate=[]
    )
    middle = time.perf_counter()
    store = store_file(workspace.activations, (params.model.layers + 1) // 2)
    plan = dataclasses.replace(sae_config(params.sae, params.model.d_model, 0), steps=steps)
    source = TokenSource.of_windows(store, np.arange(40))
    sae = train_dictionary(plan, source, heldout=None, progress=False).sae
    ended = time.perf_counter()

    def digest(tensors: list[torch.Tensor]) -> str:
        joined = b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)
        return hashlib.sha256(joined).hexdigest()[:8]

    return {
        "model": middle - begun,
        "sae": ended - middle,
        "model_bytes": digest(list(made.model.state_dict().values())),
        "sae_bytes": digest([sae.W_enc, sae.b_enc, sae.W_dec, sae.b_dec]),
    }


def main() -> None:
    """Repeat every kind in turn, so that what else the machine does strikes all alike."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    root = args.workspace.resolve()
    if args.here:
        print(json.dumps(train(root, args.windows, args.steps)))
        return
    found: dict[str, list[dict[str, float | str]]] = {kind: [] for kind in KINDS}
    command = [sys.executable, __file__, str(root), "--here"]
    command += ["--windows", str(args.windows), "--steps", str(args.steps)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for _ in range(args.repeats):
        for kind, settings in KINDS.items():
            environment = {**os.environ, **threads, **settings}
            result = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            found[kind].append(json.loads(result.stdout.splitlines()[-1]))
    base = {part: min(float(one[part]) for one in found["native"]) for part in ("model", "sae")}
    print(f"{'':<50} {'model s':>8} {'x':>5} {'sae s':>7} {'x':>5}  bytes of model, sae")
    for kind, runs in found.items():
        least = {part: min(float(one[part]) for one in runs) for part in base}
        digests = {(one["model_bytes"], one["sae_bytes"]) for one in runs}
        bytes_ = "; ".join(" ".join(map(str, pair)) for pair in sorted(digests))
        model, sae = (least[part] / base[part] for part in ("model", "sae"))
        print(
            f"{kind:<50} {least['model']:8.2f} {model:5.2f} {least['sae']:7.2f} {sae:5.2f}  {bytes_}"
        )


if __name__ == "__main__":
    main()
