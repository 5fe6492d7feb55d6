"""Names that are one slip of the pen away."""

from __future__ import annotations

import pytest

from relay.core.nearby import LONGEST_NEARLY, nearly
from relay.core.services import ServiceKey


@pytest.mark.parametrize(
    "typed",
    [
        ("gpul", 8000),
        ("gpu", 8000),
        ("gpu11", 8000),
        ("gup1", 8000),
        ("1gpu1", 8000),
        ("gpu1", 800),
        ("gpu1", 8001),
        ("gpu1", 8080),
    ],
)
def test_what_is_near(typed: ServiceKey) -> None:
    assert ("gpu1", 8000) in nearly(typed)


@pytest.mark.parametrize("typed", [("gp2", 8000), ("gpul", 8001), ("", 9000)])
def test_what_is_not(typed: ServiceKey) -> None:
    assert ("gpu1", 8000) not in nearly(typed)


def test_a_port_service_is_near_another() -> None:
    assert ("", 2000) in nearly(("", 2001))
    assert all(name == "" for name, _ in nearly(("", 2001)))


def test_no_question_costs_much() -> None:
    """However long a name is sent."""
    assert len(list(nearly(("a" * LONGEST_NEARLY, 65535)))) < 4000
    assert len(list(nearly(("a" * 200_000, 65535)))) < 400
