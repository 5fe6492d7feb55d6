"""Reports as text."""

from __future__ import annotations

import pytest

from benchmarks import table
from benchmarks.report import Bar, Report, Result


def make_report(relay: float, *, part: str = "throughput", cpu: str = "Z80") -> Report:
    result = Result(part, "one stream", ["openssh", "plain"], notes=["plain is left out"])
    for sample in (relay - 1, relay, relay + 1):
        result.add("download, MiB/s", "relay", sample)
    result.add("download, MiB/s", "openssh", 500.0)
    return Report("2030-01-02", {"cpu": cpu}, {"python": "3.11"}, [result])


def test_columns_are_aligned_and_a_heading_widens_none() -> None:
    rows = [["", "median"], ["a heading that is longer than all"], ["one", "1"], ["three", "1000"]]
    assert table.align(rows).splitlines() == [
        "       median",
        "a heading that is longer than all",
        "one         1",
        "three    1000",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1234"),
        (99.94, "99.9"),
        (9.876, "9.88"),
        (0.33333, "0.333"),
        (0.0, "0.000"),
        (-27.51, "-27.5"),
    ],
)
def test_numbers_show_three_digits(value: float, text: str) -> None:
    assert table.number(value) == text


def test_a_run_shows_medians_spread_ratios_and_notes() -> None:
    lines = table.show(make_report(850.0), details=True).splitlines()
    assert lines[:11] == [
        "date: 2030-01-02",
        "cpu: Z80",
        "python: 3.11",
        "",
        "throughput: one stream",
        "",
        "           median  lowest  highest  vs openssh  vs plain",
        "download, MiB/s",
        "  relay       850     849      851       1.70x         -",
        "  openssh     500     500      500       1.00x         -",
        "",
    ]
    assert lines[-1] == "plain is left out"


def test_a_run_is_one_table_with_its_bars() -> None:
    report = make_report(850.0)
    first = report.results[0]
    first.add("download, MiB/s", "plain", 1000.0)
    first.bars += [
        Bar("download, MiB/s", least=1.7, against="openssh"),
        Bar("download, MiB/s", least=0.9, against="plain"),
        Bar("download, MiB/s", least=0.9, against="not measured"),
    ]
    second = Result("idle", "memory", ["openssh"], bars=[Bar("KiB", most=8.0)])
    second.add("KiB", "relay", 2.0)
    report.results.append(second)
    assert table.show(report).splitlines()[4:] == [
        "                   relay  openssh  ratio      bar          plain",
        "throughput: one stream",
        "  download, MiB/s    850      500  1.70x  >= 1.7x     met   1000",
        "    against plain                  0.85x  >= 0.9x  missed",
        "idle: memory",
        "  KiB               2.00        -      -     <= 8     met      -",
        "",
        "plain is left out",
    ]


def test_a_bar_may_be_for_another_chain_than_the_subject() -> None:
    result = Result("library", "", ["port"], subject="asyncio")
    for chain, sample in {"asyncio": 90.0, "port": 100.0, "trio": 50.0}.items():
        result.add("MiB/s", chain, sample)
    result.bars += [
        Bar("MiB/s", least=0.8, against="port"),
        Bar("MiB/s", least=0.6, against="port", of="trio"),
    ]
    assert table.show(Report("2030-01-02", {}, {}, [result])).splitlines()[2:] == [
        "                       asyncio  port  ratio      bar          trio",
        "library: ",
        "  MiB/s                   90.0   100  0.90x  >= 0.8x     met  50.0",
        "    trio against port                 0.50x  >= 0.6x  missed",
    ]


def test_parts_about_something_else_have_a_table_of_their_own() -> None:
    other = Result("library", "users", ["port"], subject="asyncio")
    other.add("MiB/s", "asyncio", 90.0)
    report = make_report(850.0)
    report.results.append(other)
    text = table.show(report)
    assert text.splitlines()[4:] == [
        "                   relay  openssh  ratio  bar",
        "throughput: one stream",
        "  download, MiB/s    850      500  1.70x",
        "",
        "         asyncio  port  ratio  bar",
        "library: users",
        "  MiB/s     90.0     -      -",
        "",
        "plain is left out",
    ]


def test_a_bar_of_a_chain_that_is_missing_is_neither_met_nor_missed() -> None:
    result = Result("latency", "", ["openssh"], bars=[Bar("p50", most=0.9, against="openssh")])
    result.add("p50", "relay", 1.0)
    report = Report("2030-01-02", {}, {}, [result])
    assert table.show(report).splitlines()[-1] == "  p50   1.00        -      -  <= 0.9x"


def test_a_run_without_a_single_figure_shows_why() -> None:
    result = Result("latency", "", ["openssh"], notes=["relay is left out"])
    text = table.show(Report("2030-01-02", {}, {}, [result]))
    assert text == "date: 2030-01-02\n\nrelay is left out"


def test_two_runs_are_compared_row_by_row() -> None:
    text = table.compare(make_report(800.0), make_report(1000.0))
    assert text.splitlines()[-4:] == [
        "           old   new  new / old",
        "throughput: download, MiB/s",
        "  relay    800  1000      1.25x",
        "  openssh  500   500      1.00x",
    ]


def test_what_only_one_run_has_is_left_out() -> None:
    text = table.compare(make_report(800.0), make_report(800.0, part="latency"))
    assert "latency" not in text
    assert "throughput" not in text


def test_runs_of_different_machines_are_told_apart() -> None:
    text = table.compare(make_report(800.0), make_report(800.0, cpu="6502"))
    assert text.splitlines()[-1].startswith("The two runs are from different machines")
