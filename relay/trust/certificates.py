"""User certificates of OpenSSH (PROTOCOL.certkeys): what one says, and whether it holds now.

That its signature is right, and made with an algorithm that is accepted, has been checked by
whoever made the `Certificate`. Nothing here reads a file or the clock.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from relay.core.patterns import parse_ip

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an authority says of a key.

    `authority` is the signer's public key as the wire has it (RFC 4253 §6.6), `user` the name by
    which the client logs in. `sources` are the networks of `source-address`; None: from anywhere.
    """

    authority: bytes
    user: str
    principals: tuple[str, ...] = ()
    valid_after: datetime | None = None
    """An aware time, as `valid_before`; None: no such limit."""
    valid_before: datetime | None = None
    sources: Sequence[Network] | None = None
    port_forwarding: bool = True
    """`permit-port-forwarding` is there."""
    no_touch: bool = False
    """`no-touch-required` is there."""
    verify: bool = False
    """`verify-required` is there."""

    def refusal(self, *, address: str, now: datetime) -> str | None:
        """Why it does not hold, whoever signed it; None if it does."""
        if self.valid_after is not None and now < self.valid_after:
            return f"the certificate is not valid before {self.valid_after:%Y-%m-%d %H:%M:%SZ}"
        if self.valid_before is not None and now >= self.valid_before:
            return f"the certificate expired at {self.valid_before:%Y-%m-%d %H:%M:%SZ}"
        if self.sources is not None:
            ip = parse_ip(address)
            if ip is None or not any(ip in network for network in self.sources):
                return f"the certificate is not for {address}"
        return None

    def names(self, principals: Sequence[str]) -> str | None:
        """Why it is for none of the `principals` of an authority's line; None if it is.

        "At least one name from the list must appear in the certificate's list of principals". A
        line without a list wants the user's name there; to such a line sshd takes a certificate
        that names nobody for one that is for everybody.
        """
        if principals:
            if not set(principals) & set(self.principals):
                return f"the certificate is for none of {', '.join(principals)}"
        elif self.principals and self.user not in self.principals:
            return f"the certificate is not for the user {self.user!r}"
        return None
