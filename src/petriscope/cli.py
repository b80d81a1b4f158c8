"""The command line is `petriscope VERB`. A user's mistake is one line and status 2; nothing here
computes anything."""

from __future__ import annotations

import argparse
import codecs
import errno
import importlib
import os
import signal
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from petriscope import __version__
from petriscope.errors import UserError
from petriscope.names import did_you_mean

EXIT_FILE = "PETRISCOPE_EXIT_FILE"

PLAIN = {
    **{"●": "o", "│": "|", "─": "-", "…": "~", "├": "+", "┤": "+", "┼": "+", "┴": "+", "└": "+"},
    **{"┘": "+", "┬": "+", "┌": "+", "┐": "+", "✓": "v", "✗": "x", "–": "-", "—": "-", "−": "-"},
    **{"×": "x", "·": ".", "→": ">", "←": "<", "≤": "<=", "≥": ">=", "≈": "~", "‖": "||", "α": "a"},
    **{"β": "b", "θ": "theta", "µ": "u", "μ": "u", "ρ": "rho", "σ": "sigma", "Δ": "D", "“": '"'},
    **{"”": '"', "‘": "'", "’": "'", "±": "+-", "⁻": "-", "ß": "ss"},
}
"""What a terminal prints that cannot show a character; others lose their accents, or become ?."""

# verb → (module with add_arguments(parser) and run(args), one line of help)
VERBS = {
    "reproduce": (
        "petriscope.commands.reproduce",
        "run the whole pipeline: data, every stage, figures, claims",
    ),
    "stage": ("petriscope.commands.stage", "run one stage by hand in the current workspace"),
    "calibrate": (
        "petriscope.commands.calibrate",
        "try every test of the contrast where nothing differs",
    ),
    "cost": (
        "petriscope.commands.cost",
        "what many tokens, layers and seeds would cost, and which executor suits",
    ),
    "status": ("petriscope.commands.status", "which stages are up to date, and why not"),
    "data": (
        "petriscope.commands.data",
        "make, fetch or check a data set: demo, paper, check, fragments",
    ),
    "convert": (
        "petriscope.studies.chromatin.model.convert",
        "turn a released TensorFlow checkpoint into safetensors",
    ),
    "sae": (
        "petriscope.commands.sae",
        "train a sparse autoencoder on any stream of vectors, encode with it, convert it",
    ),
    "contrast": (
        "petriscope.commands.contrast",
        "which features of any codes differ between two conditions",
    ),
    "audit": (
        "petriscope.commands.audit",
        "recompute a paper's numbers from its authors' released tables",
    ),
    "atlas": (
        "petriscope.commands.atlas",
        "show an atlas in a browser, or one that a paper's authors released: export, open, "
        "verify, import",
    ),
    "track": (
        "petriscope.studies.dna.browser",
        "write a feature's activation per base for a genome browser or a structure",
    ),
    "claims": ("petriscope.commands.claims", "print the claims ledger of the current workspace"),
    "provenance": (
        "petriscope.commands.provenance",
        "who made a figure, table or claim, from what, back to raw inputs",
    ),
    "crate": ("petriscope.commands.crate", "bundle a finished run as an RO-Crate"),
    "release": (
        "petriscope.commands.release",
        "keep a finished run's trained weights, for `reproduce --from released`",
    ),
    "verify": (
        "petriscope.commands.verify",
        "does the installation work, does a finished run hold",
    ),
    "tui": ("petriscope_tui.command", "browse the atlas and drive the pipeline in the terminal"),
}


FIRST_STEPS = """\
first steps:
  petriscope reproduce           the demo, from data to figures (a quarter of an hour)
  petriscope claims              what came out
  petriscope tui                 look around

`petriscope VERB --help` explains a verb; docs/ explains the rest.
Exit status: 0 done, 1 failed, 2 a mistake in the input, 130 interrupted.
"""


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser; only the module of ``verb`` is imported, so that one verb does not pay for
    all."""
    parser = argparse.ArgumentParser(
        prog="petriscope",
        description="What does a foundation model of biology know? Sparse-autoencoder probes, "
        "tested; the first study asks a chromatin model about a petri dish.",
        epilog=FIRST_STEPS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, max_help_position=20
        ),
    )
    parser.add_argument("--version", action="version", version=f"petriscope {__version__}")
    commands = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, line) in VERBS.items():
        child = commands.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        if name == verb:
            body = importlib.import_module(module)
            body.add_arguments(child)
            child.set_defaults(run=body.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Exit status: 0 done, 1 failed, 2 the user's mistake, 130 interrupted.

    The status is also left in the file that the environment names, since DVC hides it from
    `petriscope reproduce`.
    """
    status = _main(argv)
    if status and os.environ.get(EXIT_FILE):
        Path(os.environ[EXIT_FILE]).write_text(str(status), encoding="utf-8")
    return status


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((a for a in arguments if not a.startswith("-")), None)
    # One thread unless asked otherwise, set before numpy or torch load: small products on a busy
    # machine spend their time in thread barriers (measured: ten times slower), and the bits do not
    # depend on the machine's core count.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _print_anywhere()
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        if not arguments:
            build_parser().print_help(sys.stderr)
            return 2
        if verb is not None and verb not in VERBS and verb == arguments[0]:
            remedy = did_you_mean(verb, VERBS, kind="Verbs")
            raise UserError("is not a verb", field=verb, remedy=remedy)
        args = build_parser(verb).parse_args(arguments)
        return int(args.run(args) or 0)
    except UserError as error:
        print(f"petriscope: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "petriscope: interrupted; finished outputs are intact, run the same command to go on",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        return 1
    except OSError as error:
        # numpy reports a full disk without an error number
        unread = error.errno == errno.EACCES and _unreadable(error.filename)
        full = (
            error.errno in (errno.ENOSPC, errno.EDQUOT)
            or "free space" in str(error)
            or "requested and" in str(error)
        )
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP):
            where = error.filename or "path"
            print(f"petriscope: {where}: {error.strerror}. Check the path.", file=sys.stderr)
            return 2
        if not full and error.errno not in (errno.EACCES, errno.EROFS):
            raise
        what = "the disk is full" if full else error.strerror
        remedy = "Choose a writable folder (for a run: --workspace DIR)"
        if full:
            remedy = "Free space and run the same command again"
        elif unread:
            what = f"cannot be read ({error.strerror})"
            remedy = "Ask its owner for permission to read it"
        where = error.filename or "output"
        print(
            f"petriscope: {where}: {what}. {remedy}; earlier outputs are intact.", file=sys.stderr
        )
        return 1


def _unreadable(name: object) -> bool:
    """Whether it is reading that a file or a folder above it forbids."""
    if not isinstance(name, (str, bytes)) or not name:
        return False
    path = Path(os.fsdecode(name))
    above = [folder for folder in path.absolute().parents if folder.is_dir()]
    closed = any(not os.access(folder, os.X_OK) for folder in above)
    return closed or (os.path.lexists(path) and not os.access(path, os.R_OK))


def _print_anywhere() -> None:
    """Let a terminal that is not UTF-8 show the nearest plain character instead of failing."""
    codecs.register_error("petriscope", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="petriscope")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    shown = ""
    for character in text:
        bare = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        shown += PLAIN.get(character) or bare or "?"
    return shown, error.end


if __name__ == "__main__":
    sys.exit(main())
