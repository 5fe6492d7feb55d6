"""What the values of options are: how each is read, shown, completed, and named in the help."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import Final

from relay.core.forward import format_address, parse_listen
from relay.core.limits import LONGEST_BUSY_POLL, LONGEST_RESUME_FOR, NetBlockSize, Startups
from relay.core.window import LEAST
from relay.errors import UsageError
from relay.settings.option import Kind
from relay.sshconfig.values import parse_size, parse_time
from relay.trust.algorithms import CIPHERS

# -- numbers


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def _positive_seconds(text: str) -> float:
    if not _seconds(text):
        raise ValueError(text)
    return _seconds(text)


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _count_or_none(text: str) -> int:
    return int(text) and _count(text)


def _count_or_word_none(text: str) -> int:
    return 0 if text == "none" else _count(text)


def _duration(text: str) -> float:
    seconds = parse_time(text)
    if seconds > LONGEST_RESUME_FOR:
        raise UsageError(f"{text!r}: give at most {show_duration(LONGEST_RESUME_FOR)}")
    return float(seconds)


def show_duration(seconds: float) -> str:
    """As ssh's files have it: `10m`, `1h30m`."""
    left, shown = int(seconds), ""
    for letter, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        shown += f"{count}{letter}" if count else ""
    return shown or "0"


DURATION: Final = Kind("DURATION", _duration, show_duration, name="time such as 10m")
SECONDS: Final = Kind("SECONDS", _seconds, "{:g}".format)
POSITIVE_SECONDS: Final = Kind("SECONDS", _positive_seconds, "{:g}".format)
NUMBER: Final = Kind("NUMBER", _count, name="number (from 1)")
NUMBER_OR_0: Final = Kind("NUMBER", _count_or_none, name="number (from 0)")
NUMBER_OR_NONE: Final = Kind(
    "NUMBER", _count_or_word_none, lambda count: str(count or "none"), "number (from 1)"
)


def _busy_poll(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > LONGEST_BUSY_POLL:
        raise UsageError(f"{text!r}: give a number from 0 to {LONGEST_BUSY_POLL}")
    return int(text)


MICROSECONDS: Final = Kind("MICROSECONDS", _busy_poll)

# -- sizes


def show_size(size: int) -> str:
    """With the largest of K, M and G that leaves a whole number."""
    for letter, bits in (("G", 30), ("M", 20), ("K", 10)):
        if size and not size % (1 << bits):
            return f"{size >> bits}{letter}"
    return str(size)


def _size(text: str) -> int:
    size = parse_size(text)
    if not size:
        raise ValueError(text)
    return size


LARGEST_WINDOW: Final = 2**30
"""RFC 4254 §5.2 ends at 4 GiB; and it is memory."""


def _window_size(text: str) -> int:
    size = parse_size(text)
    if not LEAST <= size <= LARGEST_WINDOW:
        least, largest = show_size(LEAST), show_size(LARGEST_WINDOW)
        raise UsageError(f"{text!r}: give a size between {least} and {largest}")
    return size


def _rekey_limit(text: str) -> int:
    try:
        return parse_size(text)
    except UsageError as error:
        raise UsageError(f"rekey limit {error}") from None


SIZE: Final = Kind("SIZE", _size, show_size)
WINDOW_SIZE: Final = Kind("SIZE", _window_size, show_size)
REKEY_LIMIT: Final = Kind("SIZE", _rekey_limit, lambda size: show_size(size) if size else "default")

# -- files


def _path(text: str) -> Path:
    """As a user names it; `~` also where the shell does not see it (`-i~/key`)."""
    return Path(os.path.expanduser(text))


FILE: Final = Kind("FILE", _path, completed="file")
PRIVATE_FILE: Final = Kind("FILE", _path, completed="file", in_unit="hand over")
TRUSTED_FILE: Final = Kind("FILE", _path, completed="file", in_unit="trust")
STATE_FOLDER: Final = Kind("DIR", _path, completed="folder", in_unit="state")

# -- words


def _ciphers(text: str) -> tuple[str, ...]:
    """Best first."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in CIPHERS:
            raise UsageError(f"unknown cipher {name!r}; known are {', '.join(CIPHERS)}")
    return names


def text(metavar: str) -> Kind[str]:
    """A text as it stands there."""
    return Kind(metavar, str)


def one_of(*choices: str) -> Kind[str]:
    """One of these words."""
    return Kind("", str, choices=choices)


CIPHER_LIST: Final = Kind("LIST", _ciphers, lambda names: ",".join(names) or "default")
YES_OR_NO: Final = one_of("yes", "no")
NO_OR_YES: Final = one_of("no", "yes")

# -- addresses and their like


def _startups(text: str) -> Startups:
    words = text.split(":")
    numbers = [int(word) for word in words if word.isascii() and word.isdigit()]
    if len(numbers) == len(words) == 1:
        numbers = [numbers[0], 100, numbers[0]]
    if len(numbers) != 3 or len(words) not in (1, 3):
        raise UsageError(f"{text!r}: give begin:rate:full, such as {Startups()}")
    begin, rate, full = numbers
    if not 1 <= begin <= full or not 1 <= rate <= 100:
        raise UsageError(f"{text!r}: 1 <= begin <= full, and rate is a percentage from 1 to 100")
    return Startups(begin, rate, full)


def _net_block_size(text: str) -> NetBlockSize:
    default = NetBlockSize()
    first, colon, second = text.partition(":")
    words = [first, second] if colon else [first]
    if all(word.isascii() and word.isdigit() for word in words):
        size = NetBlockSize(int(first), int(second) if colon else default.ipv6)
        if size.ipv4 <= 32 and size.ipv6 <= 128:
            return size
    raise UsageError(f"{text!r}: give bits of IPv4 and IPv6 addresses, such as {default}")


def _http_address(text: str) -> tuple[str, int] | Path:
    if "/" in text:
        return _path(text)
    try:
        return parse_listen(text)
    except UsageError:
        example = "127.0.0.1:9222, or the path of a unix socket, with a / in it"
        raise UsageError(f"{text!r}: give HOST:PORT, such as {example}") from None


def _show_http_address(address: tuple[str, int] | Path) -> str:
    return str(address) if isinstance(address, Path) else format_address(*address)


HTTP_ADDRESS: Final = Kind("ADDRESS", _http_address, _show_http_address)
ADDRESS: Final = Kind("HOST:PORT", parse_listen, lambda address: format_address(*address))
STARTUPS: Final = Kind("BEGIN:RATE:FULL", _startups)
NET_BLOCK_SIZE: Final = Kind("IPV4:IPV6", _net_block_size)
