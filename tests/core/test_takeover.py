"""relay/core/takeover.py: the younger program has the service."""

from __future__ import annotations

import pytest

from relay.core.takeover import Program, Verdict, judge


@pytest.mark.parametrize(
    ("newcomer", "holder", "verdict"),
    [
        (Program(20.0, b"b"), Program(10.0, b"a"), Verdict.TAKES),
        (Program(10.0, b"a"), Program(20.0, b"b"), Verdict.WAITS),
        (Program(10.0, b"a"), Program(10.0, b"b"), Verdict.WAITS),
        # A stock ssh is as old as its connection, and has no name.
        (Program(20.0), Program(10.0), Verdict.TAKES),
        (Program(20.0), Program(10.0, b"a"), Verdict.TAKES),
        (Program(10.0, b"a"), Program(20.0), Verdict.WAITS),
        # The same program on a new connection; how long the message took makes it look younger or
        # older than it was.
        (Program(10.001, b"a"), Program(10.0, b"a"), Verdict.RETURNS),
        (Program(10.0, b"a"), Program(10.001, b"a"), Verdict.RETURNS),
    ],
)
def test_who_has_it(newcomer: Program, holder: Program, verdict: Verdict) -> None:
    assert judge(newcomer, holder) is verdict
