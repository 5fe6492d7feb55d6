"""benchmarks/logins.py: legs without a socket come, publish and go."""

from __future__ import annotations

import logging

import pytest

from benchmarks.logins import measure


def test_agents_come_and_go_beside_a_crowd(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "relay")  # It sets that itself, and here it is put back.
    assert measure(10) > 0
