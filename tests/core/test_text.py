"""Text as Windows writes it."""

from __future__ import annotations

import pytest

from relay.core.text import decode


@pytest.mark.parametrize("text", ["", "a", "Host b\n", "\u00fc", "\udcff", "\0\0"])
def test_a_mark_of_utf_8_is_no_part_of_it(text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    assert decode(data) == decode(b"\xef\xbb\xbf" + data) == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_said_to_be(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"in UTF-16.*save it as UTF-8"):
        decode("Host b\n".encode(encoding))
