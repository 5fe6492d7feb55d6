"""Results as data: what was measured, on what, and every single sample."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
"""Of the JSON file. A reader that meets another number refuses it."""


@dataclass(frozen=True)
class Series:
    """One row of the table: all samples of one measure on one chain."""

    measure: str
    """With its unit: `download, MiB/s`."""
    chain: str
    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def lowest(self) -> float:
        return min(self.samples)

    @property
    def highest(self) -> float:
        return max(self.samples)


@dataclass(frozen=True)
class Bar:
    """What a measure has to reach: at least or at most this."""

    measure: str
    least: float | None = None
    most: float | None = None
    against: str = ""
    """The chain of whose median these are multiples; empty: they are figures themselves."""
    of: str = ""
    """The chain that it is for; empty: the result's subject."""

    def met(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


@dataclass
class Result:
    """What one part found."""

    part: str
    about: str
    """One line: how it was measured."""
    baselines: list[str]
    """The chains that all others are compared with."""
    series: list[Series] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    subject: str = "relay"
    """The chain that the bars are for."""
    bars: list[Bar] = field(default_factory=list)

    def reached(self, bar: Bar) -> float | None:
        """What its chain has of it: a multiple or a figure; None if one of them is missing."""
        row = self.find(bar.measure, bar.of or self.subject)
        if not bar.against:
            return row.median if row else None
        return self.against(bar.measure, bar.against, bar.of)

    def against(self, measure: str, chain: str, of: str = "") -> float | None:
        """How many times as much the subject, or another chain, has as this one."""
        row, base = self.find(measure, of or self.subject), self.find(measure, chain)
        return ratio(row.median, base.median) if row and base else None

    def add(self, measure: str, chain: str, sample: float) -> None:
        """Add a sample to its row, a new one if need be."""
        row = self.find(measure, chain)
        if row is None:
            row = Series(measure, chain)
            self.series.append(row)
        row.samples.append(sample)

    def find(self, measure: str, chain: str) -> Series | None:
        """The row of a measure and a chain, if there is one."""
        for row in self.series:
            if (row.measure, row.chain) == (measure, chain):
                return row
        return None

    def sort(self, chains: Sequence[str]) -> None:
        """Put the rows of each measure into the order of these chains."""
        self.series.sort(key=lambda row: chains.index(row.chain))

    def measures(self) -> list[str]:
        """All measures, in the order of their first sample."""
        return list(dict.fromkeys(row.measure for row in self.series))


@dataclass
class Report:
    """A whole run."""

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    results: list[Result] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"format": FORMAT, **asdict(self)}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what `write` wrote; ValueError if it is something else."""
        try:
            document: dict[str, Any] = json.loads(path.read_text())
            if document.pop("format") != FORMAT:
                raise ValueError
            results = [_result(result) for result in document.pop("results")]
            return cls(**document, results=results)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: no result file of this benchmark") from error


def ratio(new: float, old: float) -> float | None:
    """How many times as much; None where there is nothing to compare with."""
    return new / old if old > 0 else None


def _result(document: dict[str, Any]) -> Result:
    series = [Series(**row) for row in document.pop("series")]
    bars = [Bar(**bar) for bar in document.pop("bars", [])]
    return Result(**document, series=series, bars=bars)
