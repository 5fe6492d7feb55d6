"""Reports as text, for a terminal and for a README."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.report import Bar, Report, Result, ratio

_GAP = "  "


def show(report: Report, *, details: bool = False) -> str:
    """One table for all parts of a run, with its circumstances above it. `details`: before it,
    each part with every chain against every baseline, and how far the samples lie apart."""
    blocks = [_circumstances(report)]
    if details:
        blocks += [_part(result) for result in report.results]
    blocks += map(_summary, _alike(report.results))
    blocks += [note for result in report.results for note in result.notes]
    return "\n\n".join(block for block in blocks if block)


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
        if abs(value) >= least:
            return f"{value:.{decimals}f}"
    return f"{value:.3f}"


def times(value: float | None) -> str:
    """A ratio: `1.70x`."""
    return "-" if value is None else f"{value:.2f}x"


def _alike(results: Sequence[Result]) -> list[list[Result]]:
    """Those with the same subject and peer share a table."""
    tables: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        tables.setdefault((result.subject, result.baselines[0]), []).append(result)
    return list(tables.values())


def _summary(results: Sequence[Result]) -> str:
    """A row for each measure: the subject, the most important of its peers, their ratio, the bar
    and whether it is met; then the other peers."""
    measured = [result for result in results if result.series]
    if not measured:
        return ""
    subject, peer = measured[0].subject, measured[0].baselines[0]
    chains = dict.fromkeys(row.chain for result in measured for row in result.series)
    others = [chain for chain in chains if chain not in (subject, peer)]
    rows = [["", subject, peer, "ratio", "bar", "", *others]]
    for result in measured:
        rows.append([f"{result.part}: {result.about}"])
        for measure in result.measures():
            rows += _measure(result, measure, peer, others)
    return align(rows)


def _measure(result: Result, measure: str, peer: str, others: Sequence[str]) -> list[list[str]]:
    """Its row, and one for each bar that is about another chain than the peer."""
    bars = [bar for bar in result.bars if bar.measure == measure]
    own = next((bar for bar in bars if bar.against in ("", peer) and not bar.of), None)
    first = [
        f"  {measure}",
        _median(result, measure, result.subject),
        _median(result, measure, peer),
        times(result.against(measure, peer)),
        *_verdict(result, own),
        *(_median(result, measure, chain) for chain in others),
    ]
    further = [
        [f"    {_whose(bar)}", "", "", times(result.reached(bar)), *_verdict(result, bar)]
        for bar in bars
        if bar is not own and bar.against in (peer, *others)
    ]
    return [first, *further]


def _median(result: Result, measure: str, chain: str) -> str:
    row = result.find(measure, chain)
    return number(row.median) if row else "-"


def _whose(bar: Bar) -> str:
    return f"{bar.of} against {bar.against}".strip()


def _verdict(result: Result, bar: Bar | None) -> list[str]:
    """The bar, and whether it is met."""
    if bar is None:
        return ["", ""]
    unit = "x" if bar.against else ""
    bounds = [(">=", bar.least), ("<=", bar.most)]
    text = ", ".join(f"{sign} {bound:g}{unit}" for sign, bound in bounds if bound is not None)
    reached = result.reached(bar)
    return [text, "" if reached is None else "met" if bar.met(reached) else "missed"]


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
    return "\n".join([f"{result.part}: {result.about}", *body])


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
