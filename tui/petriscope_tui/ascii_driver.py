"""A terminal driver for locales without UTF-8 lets every character leave as ASCII, frames and bars
included."""

from __future__ import annotations

from textual.drivers.linux_driver import LinuxDriver

from petriscope_tui.glyphs import to_ascii


class AsciiDriver(LinuxDriver):
    """Textual's driver, its output translated."""

    def write(self, data: str) -> None:
        super().write(to_ascii(data))
