"""Why a login came to nothing, told apart by what is known on this side: a person cannot.

The server says no more than "no" (RFC 4252 §5.1), and which keys it would take is nobody's business
but its operator's. So the message names what was offered, and what to look for in the server's log.
"""

from __future__ import annotations

from typing import Final

from relay.core.forward import format_address
from relay.errors import Refused
from relay.sshconfig.client import ClientConfig
from relay.trust.authorized_keys import fingerprint
from relay.trust.identities import Identities, files_to_look_in
from relay.wire.numbers import ENDPOINT_VERSION, RELAY_VERSION, VERSION_START

TOO_MANY_TRIES: Final = "Too many authentication failures"
"""What sshd and relay-server say when they end a connection for that (MaxAuthTries)."""

SHOWN_KEYS: Final = 6
"""Keys that are named, as many as a server usually takes tries for."""


def denied(
    config: ClientConfig,
    identities: Identities,
    version: str,
    asked: ClientConfig,
    *,
    cut_short: bool,
) -> Refused:
    """
    Args:
        config: of the host that refused, which may be a jump host.
        identities: what there was to offer.
        version: the server's version line.
        asked: of the host that the user named.
        cut_short: the server ended the connection before all was offered.
    """
    where = f"{config.user}@{format_address(config.host, config.port)}"
    why = _why(config, identities, version, asked, cut_short)
    return Refused(f"{where}: Permission denied (publickey): {why}")


def _why(
    config: ClientConfig,
    identities: Identities,
    version: str,
    asked: ClientConfig,
    cut_short: bool,
) -> str:
    given = set(asked.identity_files) - asked.optional_identity_files
    if config.host != asked.host and given - set(config.identity_files):
        return (
            f"-i is for {asked.host} alone, and not for the jump host {config.host}: name its key "
            f"by IdentityFile under `Host {config.host}` in ~/.ssh/config ({_offered(identities)})"
        )
    if not identities.pairs:
        files = ", ".join(map(str, files_to_look_in(config)))
        agent = "ssh-agent has none" if identities.agent else "there is no ssh-agent"
        return (
            f"there is no key to log in with: no usable one in {files}, and {agent}: give one "
            "with -i, or make one with ssh-keygen"
        )
    if cut_short:
        return (
            f"the server has ended the connection after too many keys, of {len(identities.pairs)} "
            "that there are to offer: name the right one by -i FILE -o IdentitiesOnly=yes "
            f"({_offered(identities)})"
        )
    if version not in (RELAY_VERSION, ENDPOINT_VERSION):
        return (
            f"{version.removeprefix(VERSION_START) or 'what'} answers on port {config.port}, "
            "which is no relay-server: is -p right? If it is meant, the key belongs into "
            f"~{config.user}/.ssh/authorized_keys there ({_offered(identities)})"
        )
    return (
        f"the server does not take the key; is its line in authorized_keys there? "
        f"({_offered(identities)}; the server's log says why: look for that fingerprint)"
    )


def _offered(identities: Identities) -> str:
    keys = dict.fromkeys(pair.key_public_data for pair in identities.pairs)
    shown = [f"{identities.sources.get(key, 'a key')} {fingerprint(key)}" for key in keys]
    more = f" and {len(shown) - SHOWN_KEYS} more" if len(shown) > SHOWN_KEYS else ""
    return f"offered: {', '.join(shown[:SHOWN_KEYS]) or 'no key'}{more}"
