"""asyncssh's own tests, for those here that read or run them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.upstream import Unavailable, fetch_tests


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    try:
        return fetch_tests(request.config.cache)
    except Unavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
