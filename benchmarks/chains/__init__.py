"""The chains A→B→C, by the name that stands in the table, in the table's order."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.chains import openssh, plain, relay, stock_asyncssh
from benchmarks.chains.chain import Builder, Chain, Site

__all__ = [
    "CHAINS",
    "END_TO_END",
    "OPENSSH",
    "OPENSSH_END_TO_END",
    "PLAIN",
    "RELAY",
    "Builder",
    "Chain",
    "Site",
]

RELAY = "relay"
OPENSSH = "openssh aes128-gcm"
PLAIN = "plain tcp"
OPENSSH_END_TO_END = "ssh -J aes128-gcm"

CHAINS: Mapping[str, Builder] = {
    RELAY: relay.build,
    OPENSSH: openssh.with_cipher("aes128-gcm@openssh.com"),
    "openssh default cipher": openssh.with_cipher(None),
    "asyncssh aes128-gcm": stock_asyncssh.build,
    PLAIN: plain.build,
}

END_TO_END: Mapping[str, Builder] = {
    "relay -J": relay.build_end_to_end,
    OPENSSH_END_TO_END: openssh.end_to_end_with_cipher("aes128-gcm@openssh.com"),
    RELAY: relay.build,
}
"""Those in which B switches nothing but ciphertext, and ours in which it opens what passes."""
