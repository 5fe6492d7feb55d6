"""asyncssh's own tests pass with our connections in place of its own.

They come from the source distribution of the installed version, so that they fit it, and stay out
of the repository. A test that fails with asyncssh's own classes too (as root, say, who reads what
must not be readable) says nothing about ours and does not count.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.deviations import DEVIATIONS
from tests.conformance.plugin import STOCK
from tests.conformance.upstream import Unavailable, fetch_tests, run


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    try:
        return fetch_tests(request.config.cache)
    except Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "legs"),
    [
        # Re-keying by bytes and by time, and strict key exchange, are in test_connection.py.
        ("test_connection.py", "fast"),
        ("test_connection.py", "split"),
        ("test_connection_auth.py", "fast"),
        ("test_channel.py", "fast"),
        ("test_channel.py", "rekey"),
        ("test_channel.py", "slow"),
        ("test_forward.py", "fast"),
        ("test_forward.py", "rekey"),
        ("test_forward.py", "slow"),
    ],
)
def test_as_asyncssh(folder: Path, file: str, legs: str) -> None:
    outcomes, printed = run(folder, legs, [file])
    expected = {test for test in DEVIATIONS if test.startswith(f"{file}::")}
    failed = {test for test, outcome in outcomes.items() if outcome == "failed"}
    unexpected = failed - expected
    if unexpected:
        with_asyncssh, _ = run(folder, STOCK, sorted(unexpected))
        unexpected -= {test for test, outcome in with_asyncssh.items() if outcome == "failed"}
    assert not unexpected, printed
    assert expected <= failed, "these pass now: take them off the list in deviations.py"
    assert "passed" in outcomes.values()
