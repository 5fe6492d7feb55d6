"""The real programs, as processes on loopback."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.chain", f"{__name__}.process", f"{__name__}.traffic")
