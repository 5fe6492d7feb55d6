"""B's leg: who is on it, what it may do, and what it asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncssh

from relay.policy.authorized_keys import Entry, Refusal, fingerprint
from relay.policy.forward import format_address
from relay.policy.limits import MAX_AUTH_TRIES
from relay.policy.patterns import parse_ip
from relay.ssh.internals import FastServerConnection
from relay.ssh.leg import Leg

if TYPE_CHECKING:
    from relay.server.relay import Relay


class ServerLeg(Leg, FastServerConnection):
    """One client of B, an agent or a connect: which of the two shows by what it asks for."""

    relay: Relay

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Who it is: the line of authorized_keys whose key signed last. Final when logged in.
        self.entry: Entry | None = None
        self.peer = "?"
        self.logged_in = False
        self._failed_tries = 0

    def __str__(self) -> str:
        return f"{self.who} at {self.peer}"

    @property
    def who(self) -> str:
        """The key's fingerprint and comment."""
        if self.entry is None:
            return "nobody"
        return f"{fingerprint(self.entry.blob)} ({self.entry.comment or 'no comment'})"

    def introduce(self, relay: Relay, address: tuple[str, int]) -> None:
        """Whose leg it is and from where it came; before `attach`."""
        self.relay = relay
        self._peer_address = address[0]
        self.peer = format_address(*address)
        self.rekey_limit = relay.config.rekey_limit

    # -- authentication

    def authenticate(self, key: asyncssh.SSHKey) -> bool:
        """Is this key authorized? Its signature is asyncssh's to verify."""
        return self._admit(self.relay.find_key(key.public_data, self._peer_address), key)

    async def validate_certificate(self, username: str, certificate: Any) -> Any:
        """RFC 4252 §7 with a certificate of OpenSSH's PROTOCOL.certkeys."""
        signer = certificate.signing_key
        found = self.relay.find_ca(
            signer.public_data, self._peer_address, list(certificate.principals)
        )
        try:
            principal = "" if isinstance(found, Entry) and found.principals else username
            certificate.validate(asyncssh.public_key.CERT_TYPE_USER, principal or None)
        except ValueError as error:
            found = Refusal(f"certificate: {error}")
        sources = certificate.options.get("source-address")
        if sources and not any(_within(self._peer_address, network) for network in sources):
            found = Refusal(f"certificate: not from {self._peer_address}")
        if not self._admit(found, signer):
            return None
        self.set_certificate_options(certificate.options)
        if not self.permits_forwarding_by_certificate() and self.entry is not None:
            grant = replace(self.entry.grant, port_forwarding=False)
            self.entry = replace(self.entry, grant=grant)
        return certificate.key

    def _admit(self, found: Entry | Refusal, key: asyncssh.SSHKey) -> bool:
        if isinstance(found, Entry):
            self.entry = found
            return True
        self.relay.log.info(
            "key refused",
            "{peer}: key {key} refused: {reason}",
            peer=self.peer,
            key=fingerprint(key.public_data),
            reason=found.reason,
        )
        return False

    def signature_refused(self, algorithm: str) -> None:
        self.relay.log.info(
            "signature refused",
            "{peer}: a signature with {algorithm} is not accepted",
            peer=self.peer,
            algorithm=algorithm,
        )

    def send_userauth_failure(self, partial_success: bool) -> None:
        self._failed_tries += 1
        if self._failed_tries > MAX_AUTH_TRIES:
            raise asyncssh.DisconnectError(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "Too many authentication failures"
            )
        super().send_userauth_failure(partial_success)

    # -- what it asks for

    def direct_tcpip(self, host: str, port: int, origin_host: str, origin_port: int) -> object:
        return self.relay.open_stream(self, host, port, origin_host, origin_port)

    async def tcpip_forward(self, host: str, port: int) -> int | None:
        return self.relay.publish(self, host, port)

    def cancel_tcpip_forward(self, host: str, port: int) -> bool:
        return self.relay.withdraw(self, host, port)

    def refused(self, what: str) -> None:
        self.relay.log.warning(
            "request refused", "{leg} asked for {what}: refused", leg=str(self), what=what
        )


class Owner(asyncssh.SSHServer):
    """asyncssh's callbacks, passed to the leg and its relay. Public keys are the only way in."""

    _leg: ServerLeg

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        assert isinstance(conn, ServerLeg)
        self._leg = conn

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._leg.authenticate(key)

    def auth_completed(self) -> None:
        self._leg.logged_in = True
        self._leg.relay.leg_up(self._leg)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leg.relay.leg_down(self._leg, exc)


def _within(address: str, network: Any) -> bool:
    """Is an address within a network of a certificate's `source-address`?"""
    ip = parse_ip(address)
    return ip is not None and ip in network
