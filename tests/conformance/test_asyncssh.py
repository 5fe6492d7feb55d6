"""asyncssh's own tests pass with our connections in place of its own.

They come from the source distribution of the installed version, so that they fit it, and stay out
of the repository. A test that fails with asyncssh's own classes too (as root, say, who reads what
must not be readable) says nothing about ours and does not count. Those of channels, forwards and
global requests, which are our own code, are left out: channels.py says what judges that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.conformance.deviations import DEVIATIONS
from tests.conformance.plugin import STOCK
from tests.conformance.upstream import run

GUEST: Final = [
    # Re-keying by bytes and by time, and strict key exchange, are in test_connection.py.
    ("test_connection.py", "fast"),
    ("test_connection.py", "split"),
    ("test_connection_auth.py", "fast"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "legs"), GUEST)
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
