"""The values of ssh_config(5), from the words of a line to what they mean.

Each parser takes the line that a keyword stands on, and raises `UsageError` with a text that says
what would be right; the place and the keyword are put before it by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from relay.core.forward import (
    Forward,
    parse_destination,
    parse_forward,
    parse_port,
    split_fields,
)
from relay.core.grants import Permit
from relay.errors import UsageError
from relay.sshconfig.words import Line

T = TypeVar("T")

MAX_INT: Final = 2**31 - 1
"""What ssh keeps its numbers and times in."""

MIN_REKEY_LIMIT: Final = 16
"""Bytes; ssh's own lower bound. Below one block of AES a limit is a slip of the pen."""

_TIME: Final = re.compile(r"([0-9]+)([smhdw]?)", re.IGNORECASE)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE: Final = re.compile(r"([0-9]+)([KMG]?)", re.IGNORECASE)
_UNITS: Final = {"": 1} | {unit: 1 << 10 * power for power, unit in enumerate("KMG", 1)}


@dataclass(frozen=True, slots=True)
class Hop:
    """One host of a ProxyJump; None is what that host's own configuration says."""

    user: str | None
    host: str
    port: int | None


def one(line: Line) -> str:
    """The only word of the line."""
    if len(line.words) > 1:
        raise UsageError(f"one value is enough, {line.words[1]!r} is too much (quote a space)")
    return _filled(line.words)[0]


def several(line: Line) -> tuple[str, ...]:
    """All words; `none` stands alone."""
    words = _filled(line.words)
    if len(words) > 1 and "none" in map(str.lower, words):
        raise UsageError("none stands alone")
    return words


def command(line: Line) -> str:
    """ "The command string extends to the end of the line"."""
    return line.text.lstrip(" \t=")


def choice(choices: Mapping[str, T]) -> Callable[[Line], T]:
    """A parser for one of these words, in either case of letters."""

    def parse(line: Line) -> T:
        word = one(line)
        try:
            return choices[word.lower()]
        except KeyError:
            *others, last = choices
            raise UsageError(f"{word!r}: give {', '.join(others)} or {last}") from None

    return parse


flag = choice({"yes": True, "no": False, "true": True, "false": False})


def number(line: Line) -> int:
    """A whole number."""
    word = one(line)
    if not (word.isascii() and word.isdigit()) or int(word) > MAX_INT:
        raise UsageError(f"{word!r}: give a number of 0 to {MAX_INT}")
    return int(word)


def port(line: Line) -> int:
    """A port to connect to."""
    word = one(line)
    value = parse_port(word)
    if not value:
        raise UsageError(f"{word!r} is no port: give 1 to 65535")
    return value


def seconds(line: Line) -> int | None:
    """A time as in TIME FORMATS of sshd_config(5): `90`, `90s`, `1m30`; None for `none`."""
    word = one(line)
    return None if word == "none" else parse_time(word)


def parse_time(word: str) -> int:
    """ "Each member of the sequence is added together to calculate the total time value"."""
    parts = cast(list[tuple[str, str]], _TIME.findall(word))
    total = sum(int(count) * _SECONDS[unit.lower()] for count, unit in parts)
    if not word or "".join(map("".join, parts)) != word or total > MAX_INT:
        raise UsageError(f"{word!r}: give seconds, or a time such as 1m30s")
    return total


def rekey_limit(line: Line) -> tuple[int, int]:
    """Bytes and seconds after which keys are changed; 0 is the default, no limit of time."""
    size, *time = _filled(line.words)
    if len(time) > 1:
        raise UsageError("give a size, and at most a time")
    return parse_size(size), 0 if time in ([], ["none"]) else parse_time(time[0])


def parse_size(word: str) -> int:
    """Bytes: a number with K, M or G, or `default` (0)."""
    if word.lower() == "default":
        return 0
    match = _SIZE.fullmatch(word)
    if match is None:
        raise UsageError(f"{word!r}: give a size such as 512M or 1G")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if 0 < size < MIN_REKEY_LIMIT:
        raise UsageError(f"{word!r}: give at least {MIN_REKEY_LIMIT} bytes")
    return size


def octal_mask(line: Line) -> int:
    """The bits of a file's mode that are taken away."""
    word = one(line)
    if not re.fullmatch("[0-7]{1,4}", word) or int(word, 8) > 0o777:
        raise UsageError(f"{word!r}: give an octal mask such as 0177")
    return int(word, 8)


def local_forward(line: Line) -> str:
    """A forward as after -L: variables in it are not expanded yet, so it stays a text."""
    if len(line.words) != 2:
        raise UsageError("give [bind:]port host:hostport, such as 3000 localhost:8000")
    return checked_forward(":".join(_filled(line.words)), forward_of_local)


def remote_forward(line: Line) -> str:
    """A forward as after -R; without a target each connection names its own."""
    if len(line.words) > 2:
        raise UsageError("give [bind:]port host:hostport, such as 8000 localhost:8000")
    return checked_forward(":".join(_filled(line.words)), forward_of_remote)


def dynamic_forward(line: Line) -> str:
    """A forward as after -D."""
    return checked_forward(one(line), forward_of_dynamic)


def checked_forward(text: str, parse: Callable[[str], Forward]) -> str:
    """The text itself, if `parse` takes it. With a variable in it, only its user can tell."""
    if "${" not in text:
        parse(text)
    return text


def forward_of_local(text: str) -> Forward:
    """What follows -L. Port 0, for "any that is free", is as good here as for -R."""
    return parse_forward(text, allow_zero=True)


def forward_of_remote(text: str) -> Forward:
    """What follows -R."""
    fields = split_fields(text) or []
    # ssh too reads a text as an address to listen on only if it is not more than that.
    alone = len(fields) in (1, 2) and parse_port(fields[-1]) is not None
    alone |= len(fields) == 1 and "/" in fields[0]
    return parse_forward(text, allow_zero=True, dynamic=alone)


def forward_of_dynamic(text: str) -> Forward:
    """What follows -D."""
    return parse_forward(text, allow_zero=True, dynamic=True)


def stdio_forward(text: str) -> Forward:
    """What follows -W: the target as it would be listened on, so `bind` is the host."""
    fields = split_fields(text) or []
    if len(fields) != 2:
        raise UsageError(f"{text!r}: give host:port")
    return parse_forward(f"0:{text}", allow_zero=True)


def permit_remote_open(line: Line) -> tuple[Permit, ...] | None:
    """What a remote dynamic forward may reach; None for `any`, no limit."""
    words = _filled(line.words)
    if words == ("any",) or words == ("none",):
        return None if words == ("any",) else ()
    return tuple(_permit(word) for word in words)


def _permit(word: str) -> Permit:
    fields = split_fields(word) or []
    # "The wildcard `*` can be used for host or port to allow all hosts or ports respectively."
    number = parse_port(fields[1]) if len(fields) == 2 and fields[1] != "*" else None
    if len(fields) != 2 or not fields[0] or not (number or fields[1] == "*"):
        raise UsageError(f"{word!r}: give host:port, *:port or host:*; or any, or none, alone")
    return Permit(fields[0].lower(), number)


def jump(line: Line) -> tuple[Hop, ...]:
    """The hosts of a ProxyJump in the order in which they are passed; `none` is no host."""
    text = command(line).partition("#")[0].rstrip()
    return parse_jump(text)


def parse_jump(text: str) -> tuple[Hop, ...]:
    """ "Multiple proxies may be separated by comma characters and will be visited
    sequentially"."""
    if text.lower() == "none":
        return ()
    return tuple(_hop(hop) for hop in text.split(","))


def _hop(text: str) -> Hop:
    if text.lower().startswith("ssh://"):
        return Hop(*parse_destination(text))
    user, at, place = text.rpartition("@")
    fields = split_fields(place) or []
    # A literal IPv6 address without brackets would be more than a host and a port.
    number = parse_port(fields[1]) if len(fields) == 2 else None
    if len(fields) not in (1, 2) or (len(fields) == 2 and not number):
        raise UsageError(f"{text!r} is no host to jump over: give [user@]host[:port]")
    # A "%" is a token's, to be expanded; all else must be a destination that a shell may read.
    parse_destination(f"{user}{at}{fields[0]}".replace("%", "x"))
    return Hop(user if at else None, fields[0], number)


def _filled(words: tuple[str, ...]) -> tuple[str, ...]:
    if "" in words:
        raise UsageError("a value is empty")
    return words
