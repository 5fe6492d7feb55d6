"""The chains A→B→C, by the name that stands in the table, in the table's order."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.chains import openssh, plain, relay, stock_asyncssh
from benchmarks.chains.chain import Builder, Chain, Site

__all__ = ["CHAINS", "OPENSSH", "PLAIN", "RELAY", "Builder", "Chain", "Site"]

RELAY = "relay"
OPENSSH = "openssh aes128-gcm"
PLAIN = "plain tcp"

CHAINS: Mapping[str, Builder] = {
    RELAY: relay.build,
    OPENSSH: openssh.with_cipher("aes128-gcm@openssh.com"),
    "openssh default cipher": openssh.with_cipher(None),
    "asyncssh aes128-gcm": stock_asyncssh.build,
    PLAIN: plain.build,
}
