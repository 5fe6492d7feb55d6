"""The serving side of a leg: who is on it, what it may do, and what it asks for.

B serves so, and so does an agent that is an endpoint of its own. Who admits keys and what becomes
of requests is the `Host`'s business.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Final, Protocol

import anyio
import asyncssh

from relay.core.forward import format_address
from relay.core.handler import ChannelHandler, OpenRefused
from relay.core.handshake import BeforeLogin
from relay.core.limits import (
    BYTES_BEFORE_LOGIN,
    LEGS_PER_OPENER,
    MAX_AUTH_TRIES,
    OPENERS_PER_AGENT,
    PACKETS_BEFORE_LOGIN,
)
from relay.core.requests import GlobalRequest
from relay.core.takeover import MAX_NAME_BYTES, Program
from relay.core.traffic import Traffic
from relay.errors import ProtocolViolation
from relay.events import Events, LegName
from relay.events.server import KeyRefused, RequestRefused, SignatureRefused
from relay.io.engine import Engine
from relay.life.admission import Startup
from relay.settings.server import Limits
from relay.ssh.leg import Leg
from relay.ssh.options import ServerOptions
from relay.ssh.server_guest import ServerGuest
from relay.trust.authorized_keys import (
    UNKNOWN_AUTHORITY,
    AuthorizedKeys,
    Entry,
    Refusal,
    fingerprint,
)
from relay.trust.certificates import Certificate
from relay.trust.keyfile import KeyFile
from relay.trust.user_certificates import UserCertificate, read_user_certificate
from relay.wire import messages
from relay.wire.encoding import uint32
from relay.wire.numbers import (
    AGENT_STARTED,
    RELAY_VERSION,
    RESUME,
    SERVICE_DOWN,
    SERVICE_STATE,
    OpenFailure,
)

NOT_GIVEN: Final = {
    b"session": "session (shell, command or subsystem); use ssh -N",
    b"tun@openssh.com": "tun device",
    b"direct-streamlocal@openssh.com": "unix socket",
}
"""What a client may ask for by CHANNEL_OPEN, to hear that there is none."""

TOO_MANY_CONNECTIONS: Final = asyncssh.DISC_TOO_MANY_CONNECTIONS
NOT_AUTHORIZED: Final = asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE

_NUMBERS: Final = count(1)
"""Of the legs of this process, whosever they are."""


class Host(Protocol):
    """What a serving leg belongs to: B's relay, or an agent's endpoint."""

    events: Events
    key_file: KeyFile

    def leg_up(self, leg: ServerLeg) -> None:
        """A client has logged in."""

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        """A connection is gone, whether its client had logged in or not."""

    async def publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        """`tcpip-forward` (RFC 4254 §7.1). Returns the service's port, None if refused."""

    def withdraw(self, leg: ServerLeg, bind: str, port: int) -> bool:
        """`cancel-tcpip-forward`. Returns whether the service was this leg's."""

    def service_down(
        self, leg: ServerLeg, bind: str, port: int, seconds: float, reason: str
    ) -> None:
        """`SERVICE_DOWN`, from whoever says so."""

    def service_state(self, leg: ServerLeg, host: str, port: int) -> bytes | None:
        """`SERVICE_STATE`: the fields of the answer, None for no answer."""

    def open_stream(
        self, leg: ServerLeg, host: str, port: int, origin_host: str, origin_port: int
    ) -> ChannelHandler:
        """`direct-tcpip` (RFC 4254 §7.2). Returns the channel's handler, or raises
        `OpenRefused`."""


class ServerLeg(Leg):
    """One client, an agent or a connect: which of the two shows by what it asks for."""

    host: Host
    startup: Startup
    """What `Admission` knows of it."""

    def __init__(self, engine: Engine, options: ServerOptions) -> None:
        guest = ServerGuest(engine.loop, options.asyncssh)
        super().__init__(engine, guest, BeforeLogin(PACKETS_BEFORE_LOGIN, BYTES_BEFORE_LOGIN))
        self.keepalive.set(options.client_alive_interval, options.client_alive_count_max)
        self.number = next(_NUMBERS)
        # Who it is: the line of authorized_keys whose key signed last. Final when logged in.
        self.entry: Entry | None = None
        # The public key that it proved to have: with a certificate not the signer's, but its own.
        self.identity = b""
        self.certificate: Certificate | None = None
        self.address = ""
        self.origin = ("", 0)
        self.peer = "?"
        self.logged_in = False
        # When it has, in Unix time.
        self.since = 0.0
        # Who is behind it; one that does not say when it started did so now.
        self.program = Program(self.loop.time())
        # Requests to log in that were refused. The first is nearly always the method "none", by
        # which a client asks what methods there are.
        self.failed_tries = 0
        # Streams that were opened to what it publishes, by the key of their opener; never 0.
        self.streams_of: Counter[bytes] = Counter()
        # The streams on it.
        self.traffic = Traffic()
        # Opens of ours that it has not answered in time, nor since.
        self.unanswered = 0
        # Set by a host that has limits of its own.
        self.limits = Limits()
        # Called when the last channel of the leg is over, if anybody waits for that.
        self.when_idle: Callable[[ServerLeg], object] | None = None
        # Answers `RESUME`: its fields. None, as everywhere but at an endpoint: no.
        self.resume_asked: Callable[[bytes], bytes | None] = lambda fields: None

    def __str__(self) -> str:
        return str(self.name)

    @property
    def name(self) -> LegName:
        """What events call it."""
        if self.entry is None:
            return LegName(self.number, "", "", self.peer)
        return LegName(self.number, fingerprint(self.identity), self.entry.comment, self.peer)

    def introduce(
        self, host: Host, startup: Startup, address: tuple[str, int], peer: str = ""
    ) -> None:
        """Whose leg it is and from where it came; before it is attached. `peer` names it in the
        log where that is more than its address."""
        self.host = host
        self.startup = startup
        self.address = address[0]
        self.origin = address
        self.peer = peer or format_address(*address)

    def attach(self, sock: socket.socket) -> None:
        # TCPKeepAlive of sshd_config(5), whose default it is: a client whose machine is gone must
        # not keep its services when ClientAliveInterval is 0.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        super().attach(sock)

    # -- authentication

    def validate_key(self, key: asyncssh.SSHKey) -> bool:
        """Is this key authorized? Its signature is verified then."""
        return self._admit(key.public_data)

    def trusts(self, authority: bytes) -> bool:
        """Is it an authority of ours?"""
        return self.host.key_file.keys().trusts(authority)

    def validate_certificate(
        self, username: str, certificate: UserCertificate
    ) -> asyncssh.SSHKey | None:
        """RFC 4252 §7 with a certificate of OpenSSH's PROTOCOL.certkeys."""
        key = certificate.key
        try:
            read = read_user_certificate(certificate, username)
        except ValueError as error:
            self._key_refused(key.public_data, str(error))
            return None
        if not certificate.verified:
            self._key_refused(key.public_data, UNKNOWN_AUTHORITY)
            return None
        return key if self._admit(key.public_data, read) else None

    def _admit(self, blob: bytes, certificate: Certificate | None = None) -> bool:
        found = self.host.key_file.find(blob, self.address, certificate)
        if isinstance(found, Refusal):
            self._key_refused(blob, found.reason)
            return False
        self.entry, self.identity, self.certificate = found, blob, certificate
        return True

    def _key_refused(self, blob: bytes, reason: str) -> None:
        source = self.startup.source
        self.host.events.emit(KeyRefused(self.name, source, fingerprint(blob), reason))

    def validate_presence(self, presence: tuple[bool, bool] | None) -> bool:
        if presence is None or self.entry is None:
            return True
        touched, verified = presence
        refusal = self.entry.presence_refusal(touched=touched, verified=verified)
        if refusal is not None:
            self._key_refused(self.identity, refusal)
        return refusal is None

    def judge(self, keys: AuthorizedKeys, now: datetime) -> str | None:
        """By authorized_keys as it is now: why this client would not be let in any more; None if
        it would, and then it has the rights that it would get."""
        found = keys.find(
            self.identity, address=self.address, now=now, certificate=self.certificate
        )
        if isinstance(found, Refusal):
            return found.reason
        self.entry = found
        return None

    def signature_refused(self, algorithm: str) -> None:
        self.host.events.emit(SignatureRefused(self.name, self.startup.source, algorithm))

    def login_refused(self) -> None:
        self.failed_tries += 1
        if self.failed_tries > self.limits.max_auth_tries:
            self.limit_hit("max-auth-tries")
            raise asyncssh.DisconnectError(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "Too many authentication failures"
            )
        if self.mux.before_login is not None and self.failed_tries > MAX_AUTH_TRIES:
            self.mux.before_login.another_try()

    # -- who is behind it

    @property
    def is_ours(self) -> bool:
        """Does the client know requests of our own?"""
        return bool(self.get_extra_info("client_version", "") == RELAY_VERSION)

    def told(self, name: bytes, fields: bytes) -> None:
        if name == AGENT_STARTED:
            age, its_name = messages.parse_agent_started(fields)
            if len(its_name) > MAX_NAME_BYTES:
                raise ProtocolViolation("a program's name is too long")
            self.program = Program(self.loop.time() - age / 1000, its_name)
        elif name == SERVICE_DOWN:
            bind, port, age, reason = messages.parse_service_down(fields)
            self.host.service_down(self, bind, port, age / 1000, reason)
        else:
            super().told(name, fields)

    async def answers(self, seconds: float) -> bool:
        """Ask the client whether it is there. It is, if it is heard at all within this time: on a
        link that is busy our question may be late. Whom we do not listen to gets no blame."""
        answered: asyncio.Future[None] = self.loop.create_future()

        def done(fields: bytes | None) -> None:
            if not answered.done():
                answered.set_result(None)

        self.ask(b"keepalive@openssh.com", b"", done)
        with anyio.move_on_after(seconds):
            await answered
        return self.alive and (not self.listening or self.keepalive.silence < seconds)

    # -- its limits

    def full(self, *, serving: bool = False) -> bool:
        """No more channels on this leg; if so, that is a limit hit. One that is `serving` what it
        has published has room for several that open, so that one alone cannot fill it."""
        times = OPENERS_PER_AGENT if serving else 1
        full = len(self.mux.channels) >= times * self.limits.channels_per_leg
        if full:
            self.limit_hit("channels-per-leg")
        return full

    def full_for(self, opener: bytes) -> bool:
        """No more streams for this key to what the leg publishes; if so, that is a limit hit."""
        full = self.streams_of[opener] >= LEGS_PER_OPENER * self.limits.channels_per_leg
        if full:
            self.limit_hit("channels-per-leg")
        return full

    # -- its end

    def idle(self) -> None:
        if self.when_idle is not None:
            self.when_idle(self)

    def lost(self, error: Exception | None) -> None:
        self.host.leg_down(self, error)

    def dismiss(self, reason: str, code: int = asyncssh.DISC_SERVICE_NOT_AVAILABLE) -> None:
        """Tell the client why, and close the leg. (asyncssh does not pass on the text that comes
        with DISC_BY_APPLICATION.)"""
        if self.alive:
            self.disconnect(code, reason)

    # -- what it asks for

    def opened(self, kind: bytes, fields: bytes) -> ChannelHandler:
        if kind == b"direct-tcpip":
            return self.host.open_stream(self, *messages.parse_tcpip(fields))
        if kind in NOT_GIVEN:
            what = NOT_GIVEN[kind]
            self.refused(what)
            raise OpenRefused(
                OpenFailure.ADMINISTRATIVELY_PROHIBITED, f"this relay gives no {what}"
            )
        self.refused(f"a channel of the kind {kind.decode('ascii', 'replace')}")
        raise OpenRefused(OpenFailure.UNKNOWN_CHANNEL_TYPE, "this relay knows no such channel")

    def requested(self, request: GlobalRequest) -> None:
        if request.name == b"tcpip-forward":
            self.create_task(self._publish(*messages.parse_forward(request.fields)))
            return
        if request.name == SERVICE_STATE:
            state = self.host.service_state(self, *messages.parse_forward(request.fields))
            self.mux.requests.answer(state)
            return
        if request.name == RESUME:
            self.mux.requests.answer(self.resume_asked(request.fields))
            return
        granted = False
        if request.name == b"cancel-tcpip-forward":
            granted = self.host.withdraw(self, *messages.parse_forward(request.fields))
        elif request.name == b"streamlocal-forward@openssh.com":
            self.refused("unix socket forwarding")
        self.mux.requests.answer(b"" if granted else None)

    async def _publish(self, host: str, port: int) -> None:
        granted = await self.host.publish(self, host, port)
        if granted is None:
            self.mux.requests.answer(None)
        else:
            # RFC 4254 §7.1: the port is told only where the client left it to us.
            self.mux.requests.answer(uint32(granted) if port == 0 else b"")

    def refused(self, what: str) -> None:
        self.host.events.emit(RequestRefused(self.name, what))
