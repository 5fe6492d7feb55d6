"""Tables for people: aligned, with sizes and ages as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from relay.observe.lines import duration

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines. A head that ends with a space has its column to the right, as numbers stand."""
    cells = [[head.rstrip() for head in heads], *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [head.endswith(" ") for head in heads]
    return [
        "  ".join(
            cell.rjust(width) if at_right else cell.ljust(width)
            for cell, width, at_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def size(count: int) -> str:
    """`512 B`, `1.5 KiB`, `24 MiB`"""
    if count < 1000:
        return f"{count} B"
    value, unit = count / 1024, 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if value < 10 else f"{value:.0f} {_UNITS[unit]}"


def age(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
