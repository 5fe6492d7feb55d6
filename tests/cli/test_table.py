"""relay/cli/table.py: what a person reads."""

from __future__ import annotations

import pytest

from relay.cli.table import age, size, table


def test_aligned() -> None:
    assert table(("NAME", "SIZE ", "WHERE"), [("a", "100", "x"), ("long", "7", "")]) == [
        "NAME  SIZE  WHERE",
        "a      100  x",
        "long     7",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (24 << 20, "24 MiB"),
        (1023 << 20, "1.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


def test_age() -> None:
    assert age(None) == ""
    assert age(61.0) == "61 s"
