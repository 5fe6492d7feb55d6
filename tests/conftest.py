"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# No test fails by a time, and a busy machine is no fault of an example.
settings.register_profile("relay", deadline=None)
settings.load_profile("relay")
