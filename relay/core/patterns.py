"""PATTERNS of ssh_config(5), and the address lists of `from=`.

"A pattern consists of zero or more non-whitespace characters, `*` (a wildcard that matches zero
or more characters), or `?` (a wildcard that matches exactly one character)." "A pattern-list is a
comma-separated list of patterns. Patterns within pattern-lists may be negated by preceding them
with an exclamation mark." "Note that a negated match will never produce a positive result by
itself."

Comparison ignores case unless told otherwise: OpenSSH does so for the hosts of grants, but not
for the patterns of ssh_config.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from relay.errors import LocalError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class PatternError(LocalError):
    """A pattern or a list of patterns is not one that OpenSSH would accept."""


def match_pattern(text: str, pattern: str, *, ignore_case: bool = True) -> bool:
    """Whether the whole text matches the one pattern, which may hold `*` and `?`.

    Greedy, with one step back to the last `*`: at most len(text) * len(pattern) steps, so that
    no name that a stranger sends costs more (a regular expression could).
    """
    if ignore_case:
        text, pattern = text.lower(), pattern.lower()
    t = p = 0
    star, resume = -1, 0  # the last "*", and where the text that it leaves over begins
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            star, resume = p, t
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", text[t]):
            p += 1
            t += 1
        elif star >= 0:
            resume += 1
            p, t = star + 1, resume
        else:
            return False
    return not pattern[p:].strip("*")


def match_pattern_list(text: str, patterns: str, *, ignore_case: bool = True) -> bool:
    """Whether the text matches a pattern of the list and no negated one."""
    return _match_list(
        patterns, lambda pattern: match_pattern(text, pattern, ignore_case=ignore_case)
    )


def match_address_list(address: str, patterns: str) -> bool:
    """Whether an address (as text) is in a list of `from=`: patterns and address/masklen.

    There are no host names here: like sshd with its default, `UseDNS no`, the relay looks up no
    names, so a pattern for a host name matches nothing.
    """
    ip = parse_ip(address)

    def matches(pattern: str) -> bool:
        if match_pattern(address if ip is None else str(ip), pattern):
            return True
        network = _network(pattern)
        return ip is not None and network is not None and ip in network

    return _match_list(patterns, matches)


def check_address_list(patterns: str) -> None:
    """Say what is wrong with a list for `match_address_list` before it is relied on.

    sshd treats a list with a bad entry as one that never matches; better said when it is read.

    Raises:
        PatternError: an entry is empty, or is no proper address/masklen.
    """
    for entry in patterns.split(","):
        pattern = entry.removeprefix("!")
        if not pattern:
            raise PatternError(f"{patterns!r} has an empty entry")
        if "/" in pattern and _network(pattern) is None:
            raise PatternError(
                f"{pattern!r} is no network: give address/masklen with all host bits 0"
            )


def parse_ip(text: str) -> IPAddress | None:
    """The IP address that the text is a literal of, or None.

    An IPv4 address that came in through an IPv6 socket (`::ffff:10.0.0.1`) becomes IPv4 again,
    as in sshd: a rule for it must not depend on the listener.
    """
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def _match_list(patterns: str, matches: Callable[[str], bool]) -> bool:
    positive = False
    for entry in patterns.split(","):
        if matches(entry.removeprefix("!")):
            if entry.startswith("!"):
                return False
            positive = True
    return positive


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    _, slash, masklen = pattern.partition("/")
    # ip_network would take a netmask (10.0.0.0/255.0.0.0) too; sshd does not.
    if slash and not (masklen.isascii() and masklen.isdigit()):
        return None
    try:
        return ipaddress.ip_network(pattern)
    except ValueError:
        return None
