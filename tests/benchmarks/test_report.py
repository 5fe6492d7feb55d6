"""Results as data: the statistics, and the way to JSON and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import FORMAT, Bar, Report, Result, Series, ratio


def make_report() -> Report:
    result = Result(
        "throughput",
        "one stream of 1 MiB",
        ["openssh"],
        notes=["asyncssh is left out"],
        bars=[Bar("download, MiB/s", least=1.7, against="openssh")],
    )
    for sample in (3.0, 1.0, 2.0):
        result.add("download, MiB/s", "relay", sample)
    result.add("download, MiB/s", "openssh", 1.5)
    return Report("2030-01-02T03:04:05+00:00", {"cpu": "Z80"}, {"python": "3.11"}, [result])


def test_statistics_of_a_row() -> None:
    row = Series("latency, ms", "relay", [3.0, 1.0, 2.0, 9.0])
    assert (row.median, row.lowest, row.highest) == (2.5, 1.0, 9.0)


def test_samples_of_one_measure_and_chain_share_a_row() -> None:
    result = make_report().results[0]
    assert [(row.chain, row.samples) for row in result.series] == [
        ("relay", [3.0, 1.0, 2.0]),
        ("openssh", [1.5]),
    ]
    assert result.find("upload, MiB/s", "relay") is None


def test_sorting_keeps_the_order_of_the_measures() -> None:
    result = Result("part", "", [])
    for chain in ("b", "a"):
        for measure in ("y", "x"):
            result.add(measure, chain, 1.0)
    result.sort(["a", "b"])
    assert result.measures() == ["y", "x"]
    assert [row.chain for row in result.series if row.measure == "x"] == ["a", "b"]


def test_ratio_without_anything_to_compare_with() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(3.0, 0.0) is None
    assert ratio(3.0, -1.0) is None


def test_a_bar_is_for_a_multiple_or_for_a_figure() -> None:
    result = make_report().results[0]
    multiple = Bar("download, MiB/s", least=1.3, against="openssh")
    assert result.reached(multiple) == pytest.approx(2.0 / 1.5)
    assert multiple.met(1.3)
    assert not multiple.met(1.2)
    figure = Bar("download, MiB/s", most=2.5)
    assert result.reached(figure) == 2.0
    assert figure.met(2.5)
    assert not figure.met(2.6)
    assert result.reached(Bar("download, MiB/s", most=1, against="nobody")) is None
    assert result.reached(Bar("upload, MiB/s", most=1)) is None
    assert result.reached(Bar("download, MiB/s", most=2, of="openssh")) == 1.5
    assert result.reached(Bar("download, MiB/s", most=2, against="relay", of="openssh")) == 0.75


def test_json_round_trip(tmp_path: Path) -> None:
    report, path = make_report(), tmp_path / "new folder" / "result.json"
    report.write(path)
    assert Report.read(path) == report


def test_a_file_from_before_there_were_bars(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    make_report().write(path)
    document = json.loads(path.read_text())
    del document["results"][0]["bars"], document["results"][0]["subject"]
    path.write_text(json.dumps(document))
    assert Report.read(path).results[0].bars == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "not JSON",
        json.dumps({"format": FORMAT + 1, "results": []}),
        json.dumps({"format": FORMAT, "results": [{"part": "throughput"}]}),
        json.dumps({"format": FORMAT, "results": [], "unknown": 1}),
    ],
)
def test_a_foreign_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "foreign.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"foreign\.json: no result file"):
        Report.read(path)
