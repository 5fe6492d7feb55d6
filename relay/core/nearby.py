"""Services of nearly the same name: what may have been meant by one that is not there.

That is one slip of the pen away: a character too many, too few, wrong, or two that have changed
places, in the name or in the port. What is looked at is made from the name that was asked for, and
not what is published: of ten thousand services none costs anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase, digits
from typing import Final

from relay.core.forward import parse_port
from relay.core.services import ServiceKey

LONGEST_NEARLY: Final = 40
"""Characters of a name that is looked at: each has 76 neighbours, and whoever asks may ask without
end. What people type has fewer."""

IN_NAMES: Final = f"{ascii_lowercase}{digits}-_."


def nearly(key: ServiceKey) -> Iterator[ServiceKey]:
    """The keys that are one slip away, those with the same port first."""
    name, port = key
    if 0 < len(name) <= LONGEST_NEARLY:
        for other in _slips(name, IN_NAMES):
            yield other, port
    for text in _slips(str(port), digits):
        if number := parse_port(text):
            yield name, number


def _slips(text: str, alphabet: str) -> Iterator[str]:
    for at in range(len(text) + 1):
        before, behind = text[:at], text[at:]
        if behind:
            yield before + behind[1:]
            for one in alphabet:
                yield before + one + behind[1:]
        if len(behind) > 1:
            yield before + behind[1] + behind[0] + behind[2:]
        for one in alphabet:
            yield before + one + behind
