"""The options in front of a key, as in sshd(8), AUTHORIZED_KEYS FILE FORMAT.

"The options (if present) consist of comma-separated option specifications. No spaces are
permitted, except within double quotes." "Option keywords are case-insensitive." Inside quotes,
`\\"` is a quote; any other backslash is itself.

An option that we do not know may be a restriction, so it is an error, never skipped. Options
about what the relay never offers (shells, terminals, agents, X11, tun devices) restrict nothing
here and are accepted: `command=` too, since sshd itself lets such a key forward ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Final

from relay.core.grants import Grant, parse_permitlisten, parse_permitopen
from relay.core.patterns import PatternError, check_address_list
from relay.errors import LocalError

FLAGS_WITHOUT_MEANING: Final = frozenset(
    prefix + name
    for prefix in ("", "no-")
    for name in ("agent-forwarding", "pty", "user-rc", "x11-forwarding")
)
FLAGS: Final = FLAGS_WITHOUT_MEANING | {
    "cert-authority",
    "no-port-forwarding",
    "no-touch-required",
    "port-forwarding",
    "restrict",
    "verify-required",
}
VALUES_WITHOUT_MEANING: Final = frozenset({"command", "environment", "tunnel"})
VALUES: Final = VALUES_WITHOUT_MEANING | {
    "expiry-time",
    "from",
    "permitlisten",
    "permitopen",
    "principals",
}
ONCE: Final = frozenset({"command", "from", "principals"})
"""sshd refuses a second one ("multiple clauses"): neither union nor override would be clear."""

# Possessive (*+), so that a backslash once read with its quote is not read again without it.
_OPTION = re.compile(r'(?P<name>[^=,"]*)(?:=(?P<quoted>"(?P<value>(?:\\"|[^"])*+)")?)?')
_EXPIRY = re.compile(r"(?P<time>[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?)(?P<utc>Z|UTC)?", re.IGNORECASE)
_EXPIRY_FORMATS: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class OptionError(LocalError):
    """The options of a key cannot be obeyed: the key must not be used."""


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What the options in front of one key say; the defaults are those of no options."""

    grant: Grant = field(default_factory=Grant)
    source: str | None = None
    """`from`: the addresses that may use the key, for `patterns.match_address_list`."""
    expires: datetime | None = None
    """UTC; the last moment at which the key is accepted."""
    is_ca: bool = False
    principals: tuple[str, ...] = ()
    no_touch: bool = False
    """A signature of a security key does without a touch."""
    verify: bool = False
    """A signature of a security key needs its PIN or the like."""


def parse_options(text: str, zone: tzinfo | None = None) -> KeyOptions:
    """Parse the options; `zone` is that of an `expiry-time` without Z, None the system's.

    Raises:
        OptionError: an option is unknown, broken, or contradicts another.
    """
    options = KeyOptions()
    seen: set[str] = set()
    for name, value in _split(text) if text else ():
        if name in ONCE and name in seen:
            raise OptionError(f'option "{name}" is given twice')
        seen.add(name)
        try:
            if value is None:
                options = _apply_flag(options, name)
            else:
                options = _apply_value(options, name, value, zone)
        except PatternError as error:
            raise OptionError(f'option "{name}": {error}') from None
    if options.principals and not options.is_ca:
        # sshd: "principals on non-CA key" denies access.
        raise OptionError('option "principals" needs "cert-authority"')
    return options


def _split(text: str) -> Iterator[tuple[str, str | None]]:
    """Each option's name in lower case and its value, None for a flag; all of them known."""
    at = 0
    while match := _OPTION.match(text, at):
        name, at = match["name"].lower(), match.end()
        has_value = "=" in match[0][len(name) :]
        if name not in FLAGS | VALUES:
            raise OptionError(f'unknown option "{name}"' if name else "an option is empty")
        if has_value and match["quoted"] is None:
            raise OptionError(f'option "{name}": the value must stand in double quotes')
        if has_value != (name in VALUES):
            raise OptionError(f'option "{name}" {"takes no" if has_value else "needs a"} value')
        yield name, match["value"].replace('\\"', '"') if has_value else None
        if at == len(text):
            return
        if text[at] != ",":
            raise OptionError(f'option "{name}" is followed by {text[at]!r}, not by a comma')
        at += 1


def _apply_flag(options: KeyOptions, name: str) -> KeyOptions:
    match name:
        case "cert-authority":
            return replace(options, is_ca=True)
        # In turn, so that "restrict,port-forwarding" permits what "port-forwarding,restrict"
        # forbids: port-forwarding is to "enable port forwarding previously disabled".
        case "restrict" | "no-port-forwarding":
            return replace(options, grant=replace(options.grant, port_forwarding=False))
        case "port-forwarding":
            return replace(options, grant=replace(options.grant, port_forwarding=True))
        case "no-touch-required":
            return replace(options, no_touch=True)
        case "verify-required":
            return replace(options, verify=True)
    return options


def _apply_value(
    options: KeyOptions, name: str, value: str, zone: tzinfo | None = None
) -> KeyOptions:
    grant = options.grant
    match name:
        case "permitopen":
            permits = (grant.permitopen or ()) + parse_permitopen(value)
            return replace(options, grant=replace(grant, permitopen=permits))
        case "permitlisten":
            permits = (grant.permitlisten or ()) + parse_permitlisten(value)
            return replace(options, grant=replace(grant, permitlisten=permits))
        case "from":
            check_address_list(value)
            return replace(options, source=value)
        case "expiry-time":
            expires = _parse_expiry(value, zone)
            # Of several the earliest counts, as in sshd.
            return replace(options, expires=min(expires, options.expires or expires))
        case "principals":
            principals = tuple(value.split(","))
            if not all(principals):
                raise OptionError('option "principals": a name is empty')
            return replace(options, principals=principals)
    return options


def _parse_expiry(value: str, zone: tzinfo | None) -> datetime:
    """ "Dates and times will be interpreted in the system time zone unless suffixed by a Z"."""
    match = _EXPIRY.fullmatch(value)
    try:
        if match is None:
            raise ValueError
        time = datetime.strptime(match["time"], _EXPIRY_FORMATS[len(match["time"])])
        # A time without a zone is the system's to astimezone().
        return time.replace(tzinfo=UTC if match["utc"] else zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise OptionError(
            f'option "expiry-time": {value!r} is no time: give YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]'
        ) from None
