"""`petriscope contrast`: which features of any codes differ between two conditions."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from petriscope.contrast.design import Design, Units
from petriscope.contrast.score import contrast
from petriscope.errors import UserError
from petriscope.files import Output, claim, write_csv, write_parquet
from petriscope.sae.codes import Codes
from petriscope.textfile import open_text

MISSING = frozenset(("", "NA", "N/A", "#N/A", "<NA>", "n/a", "NaN", "nan", "NULL", "null", "None"))
READ, WRITTEN = (".csv", ".tsv", ".parquet"), (".csv", ".parquet")


def _is_contrast(path: Path) -> bool:
    """Whether a table has the columns that this verb writes."""
    try:
        if path.suffix == ".parquet":
            columns = pq.read_schema(path).names
        else:
            with path.open(encoding="utf-8") as handle:
                columns = handle.readline().strip().split(",")
    except (ValueError, OSError):
        return False
    return columns[:5] == ["feature", "alive", "estimate", "low", "high"]


TABLE = Output("a table of `petriscope contrast`", known=_is_contrast)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--codes", required=True, type=Path, help="folder that `petriscope sae encode` wrote"
    )
    parser.add_argument(
        "--units",
        required=True,
        type=Path,
        help="table (.csv, .tsv or .parquet), one row per unit in the order of the codes' units",
    )
    parser.add_argument("--condition", required=True, metavar="COLUMN")
    parser.add_argument(
        "--target", required=True, metavar="VALUE", help="held against all other values of COLUMN"
    )
    parser.add_argument("--strata", metavar="COLUMN", help="compare within its values")
    parser.add_argument(
        "--adjust", nargs="+", default=[], metavar="COLUMN", help="numeric covariates"
    )
    parser.add_argument(
        "--id", metavar="COLUMN", help="names the units (default: `unit`, else the first column)"
    )
    parser.add_argument(
        "--split", nargs="+", metavar="NAME", help="splits that count (default: all)"
    )
    parser.add_argument(
        "--min-events",
        type=float,
        default=0.0,
        help="tokens of a unit, on average, that a feature must fire on (default: 0)",
    )
    parser.add_argument("--permutations", type=int, default=10_000, help="default: 10000")
    parser.add_argument("--alpha", type=float, help="mark features with q at most this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the whole table (.csv or .parquet)")


def run(args: argparse.Namespace) -> int:
    """Print method, units, family and the strongest features; write the table."""
    if args.out is not None:
        _suffix(args.out, "--out", WRITTEN)
        claim(args.out, TABLE, inputs=[args.codes, args.units], field="--out")
    if args.seed < 0:
        raise UserError(f"is {args.seed}", field="--seed", remedy="Give zero or a positive number.")
    units = Units(read_table(args.units), args.id, source=args.units)
    adjust = [name for given in args.adjust for name in given.split(",") if name]
    design = Design(
        units, condition=args.condition, target=args.target, strata=args.strata, adjust=adjust
    )
    codes = Codes.load(args.codes)
    codes.check_values(args.codes)
    score = contrast(
        codes,
        design,
        split=args.split,
        min_events=args.min_events,
        permutations=args.permutations,
        alpha=args.alpha,
        seed=args.seed,
    )
    print(score)
    if args.out is not None:
        table = score.table()
        if args.out.suffix == ".parquet":
            write_parquet(args.out, table)
        else:
            write_csv(args.out, table)
    return 0


def read_table(path: Path) -> pd.DataFrame:
    """A table by its suffix; a value of a text table is the text as it stands (`0012` stays so),
    without blanks around it, and missing where it is empty or one of `MISSING`."""
    suffix = _suffix(path, "--units", READ)
    if not path.is_file():
        raise UserError(
            "does not exist", file=path, field="--units", remedy="Name the table of units."
        )
    if suffix != ".parquet":
        return _read_text_table(path, "\t" if suffix == ".tsv" else ",")
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise UserError(
            f"cannot be read ({error})", file=path, field="--units", remedy="Save it again."
        ) from None


def _read_text_table(path: Path, separator: str) -> pd.DataFrame:
    def refuse(what: str, line: int, remedy: str) -> UserError:
        return UserError(what, file=path, field=f"line {line}", remedy=remedy)

    lines = (f"{text}\n" for _, text in open_text(path))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    names: list[str] = []
    rows: list[list[str | None]] = []
    try:
        for given in reader:
            cells = [cell.strip() for cell in given]
            if not any(cells) and (names or len(cells) < 2):
                continue
            if not names:
                names = cells
                twice = [name for name in names if names.count(name) > 1 or not name]
                if twice:
                    what = (
                        f"column {twice[0]!r} occurs twice" if twice[0] else "a column has no name"
                    )
                    raise refuse(what, reader.line_num, "Give each column a name of its own.")
                continue
            if len(cells) != len(names):
                what = f"has {len(cells)} values for {len(names)} columns"
                remedy = "Give every row a value per column; a last row that is short was cut."
                raise refuse(what, reader.line_num, remedy)
            rows.append([None if cell in MISSING else cell for cell in cells])
    except csv.Error as error:
        raise refuse(f"cannot be read ({error})", reader.line_num, "Save it again.") from None
    if len(names) == 1 and any(mark in names[0] for mark in ";\t,"):
        raise refuse(
            f"the header is one column, {names[0]!r}",
            1,
            "Separate columns by commas in .csv, by tabs in .tsv.",
        )
    return pd.DataFrame(rows, columns=names, dtype="str")


def _suffix(path: Path, option: str, known: tuple[str, ...]) -> str:
    if path.suffix not in known:
        raise UserError(
            f"ends in {path.suffix!r}",
            file=path,
            field=option,
            remedy=f"Use {', '.join(known)}.",
        )
    return path.suffix
