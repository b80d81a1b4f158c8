"""`python -m petriscope ARGUMENTS`, or a few lines of Python, in a process of its own that need not load numpy, pandas and torch
again: it is forked from one that has.

Of a command that says no to a file, loading the libraries takes all but a hundredth of the time.
The program itself is loaded anew in each process, from where `PYTHONPATH` says. What depends on the
start of the interpreter (its warnings, what `import petriscope` loads) is tried with `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

LIBRARIES = (
        "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "statsmodels.stats.multitest",
        "statsmodels.stats.proportion", "torch", "safetensors.torch", "yaml", "ruamel.yaml",
        "pysam", "psutil", "jinja2", "tqdm",
)  # fmt: skip
"""What a process has loaded before it becomes the program."""


def run(
    arguments: Sequence[object],
    *,
    cwd: Path,
    env: dict[str, str] | None = None,
    code: str | None = None,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """`python -m petriscope ARGUMENTS` (with ``code``: `python -c CODE ARGUMENTS`) in ``cwd``, with
    ``env`` (else this process's) as its whole environment."""
    words = ["petriscope" if code is None else "-c", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as scratch:
        said = [Path(scratch) / name for name in ("out", "err")]
        environment = dict(os.environ if env is None else env)
        files = list(map(str, said))
        asked = {"words": words, "code": code, "cwd": str(cwd), "env": environment, "said": files}
        server = _server()
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(asked).encode() + b"\n")
        server.stdin.flush()
        answer = b""
        if select.select([server.stdout], [], [], timeout)[0]:
            answer = server.stdout.readline()
        if not answer:  # it hangs, or something ended the server
            server.kill()
            _server.cache_clear()
            raise subprocess.TimeoutExpired(words, timeout)
        out, err = (path.read_text("utf-8", "replace") for path in said)
        return subprocess.CompletedProcess(words, int(answer), out, err)


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    """This file as a program; it ends when its input does."""
    command = [sys.executable, __file__]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}  # as the command line sets it
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=settings)
    atexit.register(server.communicate)
    return server


def serve() -> None:
    """Fork a process for every line of the input; print its exit status (negative: its signal)."""
    start = dict(os.environ)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # a child that collects garbage would copy every page
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            become(json.loads(line), start)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"{status}\n".encode())


def become(asked: dict[str, Any], start: dict[str, str]) -> NoReturn:
    """Run the program as the interpreter would, started with this environment in this folder."""
    os.chdir(asked["cwd"])
    for number, name in ((0, os.devnull), *zip((1, 2), asked["said"], strict=True)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        handle = os.open(name, flags, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    former, given = (env.get("PYTHONPATH", "").split(os.pathsep) for env in (start, asked["env"]))
    os.environ.clear()
    os.environ.update(asked["env"])
    kept = [folder for folder in sys.path[1:] if folder not in former]
    sys.path[:] = [asked["cwd"], *(folder for folder in given if folder), *kept]
    importlib.invalidate_caches()
    encoding, _, errors = asked["env"].get("PYTHONIOENCODING", "").partition(":")
    if encoding:
        sys.stdout.reconfigure(encoding=encoding, errors=errors or "strict")
        sys.stderr.reconfigure(encoding=encoding)
    sys.argv = asked["words"]
    status = 1
    try:
        if asked["code"] is None:
            runpy.run_module("petriscope", run_name="__main__", alter_sys=True)
        else:
            exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # the interpreter's last words
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()  # not left to the interpreter, which would also unwind the server
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status & 0xFF)


if __name__ == "__main__":
    serve()
