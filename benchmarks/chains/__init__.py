"""The chains A→B→C, by the name that stands in the table, in the table's order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chains import openssh, plain, relay, stock_asyncssh
from benchmarks.chains.chain import Builder, Chain, Hub, HubBuilder, Site

__all__ = [
    "AGAINST",
    "CHAINS",
    "END_TO_END",
    "HUBS",
    "LEFT_OUT_IF_QUICK",
    "OPENSSH",
    "PLAIN",
    "RELAY",
    "Builder",
    "Chain",
    "Hub",
    "HubBuilder",
    "Lineup",
    "Site",
]

RELAY = "relay"
AGAINST = "relay --against"
OPENSSH = "openssh aes128-gcm"
OPENSSH_SESSION = "openssh without -N"
OPENSSH_DEFAULT = "openssh default cipher"
ASYNCSSH = "asyncssh aes128-gcm"
PLAIN = "plain tcp"
RELAY_END_TO_END = "relay -J"
OPENSSH_END_TO_END = "ssh -J aes128-gcm"

LEFT_OUT_IF_QUICK = frozenset({OPENSSH_SESSION, OPENSSH_DEFAULT, ASYNCSSH})


@dataclass(frozen=True)
class Lineup:
    """Chains that are measured side by side, in the table's order."""

    chains: Mapping[str, Builder]
    subject: str
    """The one that the benchmark is about."""
    baselines: tuple[str, ...]
    """Those that all are compared with, the most important first."""

    def against(self, checkout: Path) -> Lineup:
        """With the relay of another checkout as one more peer."""
        chains = {AGAINST: relay.of(checkout), **self.chains}
        return Lineup(chains, self.subject, (*self.baselines, AGAINST))


CHAINS = Lineup(
    {
        RELAY: relay.build,
        OPENSSH: openssh.with_cipher("aes128-gcm@openssh.com"),
        OPENSSH_SESSION: openssh.with_cipher("aes128-gcm@openssh.com", session=True),
        OPENSSH_DEFAULT: openssh.with_cipher(None),
        ASYNCSSH: stock_asyncssh.build,
        PLAIN: plain.build,
    },
    subject=RELAY,
    baselines=(OPENSSH, PLAIN),
)

END_TO_END = Lineup(
    {
        RELAY_END_TO_END: relay.build_end_to_end,
        OPENSSH_END_TO_END: openssh.end_to_end_with_cipher("aes128-gcm@openssh.com"),
        RELAY: relay.build,
    },
    subject=RELAY_END_TO_END,
    baselines=(OPENSSH_END_TO_END, RELAY),
)
"""Those in which B switches nothing but ciphertext, and ours in which it opens what passes."""

HUBS: Mapping[str, HubBuilder] = {RELAY: relay.hub, OPENSSH: openssh.hub}
"""B alone."""
