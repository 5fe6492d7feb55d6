"""Reports as text, for a terminal and for a README."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report import Report, Result, ratio

_GAP = "  "


def show(report: Report) -> str:
    """One table for all parts of a run, with its circumstances above it."""
    blocks = [_circumstances(report), *(_part(result) for result in report.results)]
    return "\n\n".join(blocks)


def compare(old: Report, new: Report) -> str:
    """Two runs row by row: both medians and their ratio. A row that one run lacks is left out."""
    rows = [["", "old", "new", "new / old"]]
    former = {result.part: result for result in old.results}
    for result in new.results:
        if result.part not in former:
            continue
        for measure in result.measures():
            lines = _compared(former[result.part], result, measure)
            if lines:
                rows += [[f"{result.part}: {measure}"], *lines]
    blocks = ["old\n" + _circumstances(old), "new\n" + _circumstances(new), align(rows)]
    if old.machine.get("cpu") != new.machine.get("cpu"):
        blocks.append("The two runs are from different machines: compare ratios, not figures.")
    return "\n\n".join(blocks)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Pad cells into columns: the first to the left, the others to the right.

    A row of one cell is a heading and may be as long as it likes.
    """
    columns = max(len(row) for row in rows)
    widths = [
        max((len(row[column]) for row in rows if len(row) > max(column, 1)), default=0)
        for column in range(columns)
    ]
    lines = []
    for row in rows:
        first, *others = row
        if not others:
            lines.append(first)
            continue
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False)]
        lines.append(_GAP.join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits that count; what is larger is shown whole."""
    for least, decimals in ((100, 0), (10, 1), (1, 2)):
        if value >= least:
            return f"{value:.{decimals}f}"
    return f"{value:.3f}"


def times(value: float | None) -> str:
    """A ratio: `1.70x`."""
    return "-" if value is None else f"{value:.2f}x"


def _part(result: Result) -> str:
    rows = [["", "median", "lowest", "highest", *(f"vs {chain}" for chain in result.baselines)]]
    for measure in result.measures():
        rows.append([measure])
        rows += [
            [
                f"  {row.chain}",
                *map(number, (row.median, row.lowest, row.highest)),
                *(times(_against(result, measure, row.median, base)) for base in result.baselines),
            ]
            for row in result.series
            if row.measure == measure
        ]
    body = ["", align(rows)] if result.series else []
    return "\n".join([f"{result.part}: {result.about}", *body, *result.notes])


def _against(result: Result, measure: str, median: float, baseline: str) -> float | None:
    base = result.find(measure, baseline)
    return ratio(median, base.median) if base else None


def _compared(old: Result, new: Result, measure: str) -> list[list[str]]:
    lines = []
    for row in new.series:
        before = old.find(measure, row.chain)
        if row.measure == measure and before:
            change = ratio(row.median, before.median)
            lines.append(
                [f"  {row.chain}", number(before.median), number(row.median), times(change)]
            )
    return lines


def _circumstances(report: Report) -> str:
    facts = {"date": report.date, **report.machine, **report.versions}
    return "\n".join(f"{name}: {value}" for name, value in facts.items())
