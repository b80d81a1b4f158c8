"""Texts to put to an atlas: filters from the language's grammar with right and wrong terms, and what
people type into a search box. Seeded, so that a failure comes back."""

from __future__ import annotations

import random
from typing import Any

from petriscope.atlas.filters import ALIASES, FLAGS, TERM_KINDS
from petriscope.atlas.query import Atlas

LETTERS = (
    "aAbBgGtT1209 .,:;<>=!-–_\"'\\*%/éÉßςΣİıµſͅ٣९\u00a0\u200b\u3000\U0001d4d0~|()[]?+&#\0\x1c\x85"
)
NUMBERS = (
    *("0", "1", "-1.5", "1e-3", "1E+2", ".05", "5.", "+.3", "1_0", "1__0", "_1", "1_.5", "inf"),
    *(
        "-Infinity",
        "nan",
        "٣",
        "0.०५",
        "5%",
        "95%",
        "%",
        "1%%",
        "0x10",
        "1e",
        "e5",
        "",
        "--1",
        "1-",
    ),
    *("1e-60", "1e-300", "65535", "65536", "-2147483648", "1e400", "3,", ",", ",,4"),
)
REGIONS = (
    *("chr22:1-200,000", "chr1:500,000", "CHR1:1-1000000", "chr1:100..400000", "chr1:5–900000"),
    *("chr1:1_000-2_000_000", "chr1:0-5", "chr1:9-5", "chr1:1-999999999", "chr1:,", "chr1:,5"),
    *(
        "chr1:٣-٩٩٩٩٩٩",
        "chrX:1-5",
        "chr1:",
        "chr1",
        "chr1:abc",
        "scaffold_1:1-1,000,000",
        "chr1:1-",
    ),
    *("chr1:536870912", "chr1:536870913", "chr:1-2", "ch1:1-2", "chr1:300000-300128 "),
)
OPERATORS = (":", "=", "==", "!=", "<", "<=", ">", ">=")


class Grammar:
    """Draws texts about one atlas."""

    def __init__(self, atlas: Atlas, seed: int) -> None:
        self.draw = random.Random(seed)
        self.columns = atlas.columns
        sql = "SELECT DISTINCT name FROM terms WHERE kind {} 'gene' ORDER BY name"
        names, self.genes = (
            [row[0] for row in atlas.select(sql.format(sign))] for sign in ("<>", "=")
        )
        sql = 'SELECT chrom, start, "end" FROM contexts WHERE chrom IS NOT NULL ORDER BY context'
        self.places = atlas.select(sql)
        sql = "SELECT DISTINCT CAST(label AS BLOB) FROM features WHERE label IS NOT NULL"
        labels = sorted(row[0].decode() for row in atlas.select(sql))
        self.words = [*names, *labels, "monocyte", "Müller", "nothing of it"]
        self.values: dict[str, list[Any]] = {}
        for name in self.columns:
            sql = f'SELECT DISTINCT "{name}" FROM features ORDER BY "{name}"'
            self.values[name] = [v for (v,) in atlas.select(sql) if v is not None]

    def filter(self) -> str:
        """A filter of one to four terms."""
        if self.draw.random() < 0.06:
            return self.noise()
        terms = [self.term() for _ in range(self.draw.choice((1, 1, 1, 2, 3, 4)))]
        return self.draw.choice((" ", " ", "  ", "\t", "\u3000")).join(terms)

    def search(self) -> str:
        """What people type: names, parts of them, slips, features, regions."""
        one = self.draw.random()
        if one < 0.08:
            return self.feature()
        if one < 0.16:
            return self.draw.choice(REGIONS)
        if one < 0.24:
            return self.noise()
        if one < 0.34:
            return self.draw.choice(
                ("ZNFx", "xZNF", "ZNF9x", "ZNF 1", "KRTAPx", "HISTONE", "OR1Ax")
            )
        text = self.draw.choice(self.draw.choice((self.words, self.genes or self.words)))
        if self.draw.random() < 0.4:
            text = self.part(text)
        if self.draw.random() < 0.6:
            text = self.slip(text)
        return self.cased(text)

    def term(self) -> str:
        minus = self.draw.choice(("", "", "", "-", "--"))
        kinds = (self.comparison, self.comparison, self.text, self.flag, self.of_kind, self.place)
        return minus + self.draw.choice((*kinds, self.word, self.feature, self.misspelt))()

    def comparison(self) -> str:
        names = [n for n, c in self.columns.items() if c.kind != "text"]
        name = self.draw.choice((*names, *ALIASES))
        operator = self.draw.choice((*OPERATORS, ":", ":"))
        how = self.draw.random()
        if how < 0.2:
            value = f"{self.number(name)}..{self.number(name)}"
        elif how < 0.4:
            value = ",".join(self.number(name) for _ in range(self.draw.randrange(1, 4)))
        else:
            value = self.number(name)
        return self.cased(name) + operator + value

    def number(self, column: str) -> str:
        values = self.values.get(ALIASES.get(column, column), [])
        if values and self.draw.random() < 0.7:
            value = self.draw.choice(values)
            if isinstance(value, float) and self.draw.random() < 0.1:
                hundredths = f"{100 * value:g}"
                # The columns are float32, which cannot tell 1.3 / 100 from .013.
                if float(hundredths) / 100 == value:
                    return hundredths + "%"
            return str(value)
        return self.draw.choice(NUMBERS)

    def text(self) -> str:
        name = self.draw.choice([n for n, c in self.columns.items() if c.kind == "text"])
        return name + self.draw.choice((*OPERATORS, ":", ":", "=")) + self.value(name)

    def value(self, column: str = "") -> str:
        words = [str(v) for v in self.values.get(column, [])] or self.words
        parts = []
        for _ in range(self.draw.choice((1, 1, 1, 2, 3))):
            text = self.draw.choice(words)
            if self.draw.random() < 0.6:
                text = self.part(text)
            parts.append(self.cased(text))
        value = ",".join(parts)
        if self.draw.random() < 0.1:
            value = value.replace("a", "*")
        return f'"{value}"' if " " in value and self.draw.random() < 0.8 else value

    def flag(self) -> str:
        flag = self.draw.choice(list(FLAGS))
        flag = self.slip(flag) if self.draw.random() < 0.2 else flag
        return "is" + self.draw.choice((":", ":", "=", "!=")) + flag

    def of_kind(self) -> str:
        word = self.draw.choice((*TERM_KINDS, "gene", "gene", "celltype", "celltype"))
        named = word == "gene" and self.genes and self.draw.random() < 0.7
        value = self.cased(self.draw.choice(self.genes)) if named else self.value()
        return f"{self.cased(word)}{self.draw.choice(OPERATORS)}{value}"

    def place(self) -> str:
        region = self.draw.choice(REGIONS)
        if self.places and self.draw.random() < 0.5:
            chrom, start, end = self.draw.choice(self.places)
            at = self.draw.choice((start, start + 1, end, end + 1)) or 1
            region = f"{chrom}:{at}"
        form = self.draw.choice(("{}", "region:{}", 'region:"{}"', "REGION={}", "region:x{}"))
        return form.format(region)

    def word(self) -> str:
        text = self.draw.choice(self.words)
        text = self.cased(self.part(text) if self.draw.random() < 0.7 else text)
        return f'"{text}"' if self.draw.random() < 0.3 else text

    def feature(self) -> str:
        name = f"{self.draw.choice('lL')}{self.draw.randrange(9)}{self.draw.choice('/:.')}"
        return name + self.draw.choice((str(self.draw.randrange(100)), "٣", "1234567", "x"))

    def misspelt(self) -> str:
        name = self.draw.choice((*self.columns, *ALIASES, *TERM_KINDS, "gene", "is", "region"))
        return (
            self.slip(name) + self.draw.choice(OPERATORS) + self.draw.choice(("1", "", '""', "x"))
        )

    def noise(self) -> str:
        return "".join(self.draw.choice(LETTERS) for _ in range(self.draw.randrange(1, 14)))

    def part(self, text: str) -> str:
        start = self.draw.randrange(len(text))
        return text[start : start + self.draw.randrange(1, 9)]

    def slip(self, text: str) -> str:
        at = self.draw.randrange(len(text) + 1)
        new = self.draw.choice(("", "x", "e", text[at : at + 1] * 2))
        return text[:at] + new + text[at + self.draw.randrange(2) :]

    def cased(self, text: str) -> str:
        return self.draw.choice((str, str, str.lower, str.upper, str.title))(text)
