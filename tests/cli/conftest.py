"""No proxy of whoever runs the tests."""

from __future__ import annotations

import pytest

from relay.sshconfig.proxy import EXCEPTIONS, VARIABLES


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *EXCEPTIONS):
        monkeypatch.delenv(name, raising=False)
