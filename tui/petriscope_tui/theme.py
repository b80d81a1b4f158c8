"""One visual language: two colors for the sides of a contrast, three for strata, three for
verdicts; the rest is gray."""

from __future__ import annotations

from dataclasses import dataclass

from textual.theme import Theme

from petriscope.atlas.schema import Declared
from petriscope.claims import NOT_SUPPORTED, SUPPORTED


@dataclass(frozen=True)
class Palette:
    """Colors with meaning (hex). Everything they say is also said by a word or a sign, for
    NO_COLOR."""

    text: str
    dim: str
    faint: str
    accent: str
    reference: str
    target: str
    strata: tuple[str, str, str]
    supported: str
    not_supported: str
    untestable: str
    bases: tuple[str, str, str, str]

    def side(self, name: str | None, of: Declared) -> str:
        """Color of one of the two conditions that are compared."""
        return {of.reference: self.reference, of.target: self.target}.get(name or "", self.dim)

    def verdict(self, name: str | None) -> str:
        """Color of a verdict."""
        return {SUPPORTED: self.supported, NOT_SUPPORTED: self.not_supported}.get(
            name or "", self.untestable
        )

    def stratum(self, name: str | None, order: list[str]) -> str:
        """Color of a stratum by its place in the data set."""
        return self.strata[order.index(name) % 3] if name in order else self.dim


DARK = Palette(
    text="#d8dee6",
    dim="#8894a2",
    faint="#4a5561",
    accent="#8fc1e3",
    reference="#e3a857",
    target="#4fb9a8",
    strata=("#e27d7d", "#b79ae0", "#7fa8ea"),
    supported="#86c06a",
    not_supported="#e0607e",
    untestable="#c2b26a",
    bases=("#7fbf7f", "#7fa8ea", "#e3b857", "#e27d7d"),
)
LIGHT = Palette(
    text="#1f262d",
    dim="#5d6873",
    faint="#b4bcc4",
    accent="#1d5f8f",
    reference="#9a5b00",
    target="#00756a",
    strata=("#b3261e", "#6842b0", "#1f57b5"),
    supported="#2d7a2f",
    not_supported="#b0123f",
    untestable="#6f6100",
    bases=("#2d7a2f", "#1f57b5", "#9a6b00", "#b3261e"),
)


def _theme(
    name: str, palette: Palette, dark: bool, background: str, surface: str, panel: str
) -> Theme:
    return Theme(
        name=name,
        primary=palette.accent,
        secondary=palette.dim,
        accent=palette.accent,
        foreground=palette.text,
        background=background,
        surface=surface,
        panel=panel,
        success=palette.supported,
        warning=palette.untestable,
        error=palette.not_supported,
        dark=dark,
        variables={
            "border": palette.faint,
            "border-blurred": palette.faint,
            "footer-key-foreground": palette.accent,
            "footer-background": panel,
            "input-selection-background": f"{palette.accent} 35%",
            "block-cursor-text-style": "none",
            "scrollbar": palette.faint,
            "scrollbar-background": background,
            "scrollbar-corner-color": background,
            "scrollbar-hover": palette.dim,
            "scrollbar-active": palette.accent,
            "scrollbar-background-hover": background,
            "scrollbar-background-active": background,
        },
    )


THEMES = (
    _theme("petriscope-dark", DARK, True, "#0e1216", "#141a20", "#1a2128"),
    _theme("petriscope-light", LIGHT, False, "#fbfaf7", "#f3f1ec", "#e9e6df"),
)
