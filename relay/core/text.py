"""Text files as people have them: in UTF-8, with or without the mark that Windows puts first."""

from __future__ import annotations

from typing import Final

UTF_8_MARK: Final = b"\xef\xbb\xbf"
UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")

IN_UTF_16: Final = "the file is in UTF-16, as `>` of PowerShell writes it: save it as UTF-8"


def is_utf_16(data: bytes) -> bool:
    """By its mark, or by the half of its first letter that is zero."""
    return data[:2] in UTF_16_MARKS or (len(data) > 1 and 0 in data[:2] and data[:2] != b"\0\0")


def decode(data: bytes) -> str:
    """The text, without a mark; what is no UTF-8 stays as it is. Raises ValueError for UTF-16: we
    add lines to such files, and stock programs would not read it either."""
    if is_utf_16(data):
        raise ValueError(IN_UTF_16)
    return data.removeprefix(UTF_8_MARK).decode("utf-8", "surrogateescape")
