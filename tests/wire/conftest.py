"""As the core's."""

from __future__ import annotations

from tests.core.conftest import no_socket

__all__ = ["no_socket"]
