"""The lines of ssh_config(5) and the words on them.

"The file contains keyword-argument pairs, one per line. Lines starting with `#` and empty lines
are interpreted as comments. Arguments may optionally be enclosed in double quotes (") in order to
represent arguments containing spaces. Configuration options may be separated by whitespace or
optional whitespace and exactly one `=`."
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from relay.errors import ConfigError, UsageError

_BLANKS: Final = " \t"
_TRAILING: Final = " \t\r\n\f"
_KEYWORD: Final = re.compile(r'[ \t\r\n]*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^ \t\r\n"=]+))')
_SEPARATOR: Final = re.compile(r"[ \t\r\n]*=?[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting was found: a line of a file, or (line 0) a flag of the command line."""

    name: str
    line: int = 0

    def error(self, problem: object, keyword: str = "") -> UsageError:
        """The error that says what is wrong here. A file's line has a keyword to name; a flag
        names it already."""
        if not self.line:
            return UsageError(f"{self}: {problem}")
        return ConfigError(f"{self}: {keyword}: {problem}" if keyword else f"{self}: {problem}")

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Line:
    """A keyword as it was written and its arguments: as words, and as the text they are in."""

    keyword: str
    words: tuple[str, ...]
    text: str
    place: Place


def parse_line(text: str, place: Place) -> Line | None:
    """One line; None if there is nothing on it.

    Raises:
        UsageError: it has no argument, or a quotation mark is not closed.
    """
    text = text.rstrip(_TRAILING)
    match = _KEYWORD.match(text)
    if match is None:
        if text.strip(_TRAILING):
            raise place.error(f"{text.strip()!r}: a line is Keyword value or Keyword=value")
        return None
    keyword = match["bare"] if match["quoted"] is None else match["quoted"]
    if keyword.startswith("#") or not keyword:
        return None
    separator = _SEPARATOR.match(text, match.end())
    rest = text[separator.end() if separator else match.end() :]
    try:
        words = split_words(rest)
    except UsageError as error:
        raise place.error(error, keyword) from None
    if not words:
        raise place.error(f"{keyword} has no value: give {keyword}=value")
    return Line(keyword, words, rest, place)


def split_words(text: str) -> tuple[str, ...]:
    """Words between blanks, up to a word that begins with `#`: a comment to the line's end.

    Quotes of either kind may stand anywhere in a word. A backslash takes a quote, a backslash
    and, outside quotes, a space literally; before anything else it stays.

    Raises:
        UsageError: a quotation mark is not closed.
    """
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(text):
        character, following = text[at], text[at + 1 : at + 2]
        at += 1
        if word is None:
            if character in _BLANKS:
                continue
            if character == "#":
                break
            word = []
        if character == "\\" and following and following in ("'\"\\" if quote else "'\"\\ "):
            word.append(following)
            at += 1
        elif not quote and character in _BLANKS:
            words.append("".join(word))
            word = None
        elif not quote and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
        else:
            word.append(character)
    if quote:
        raise UsageError("a quotation mark is not closed")
    if word is not None:
        words.append("".join(word))
    return tuple(words)
