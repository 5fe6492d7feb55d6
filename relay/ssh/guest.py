"""asyncssh as a guest: it exchanges versions and keys, and logs in; nothing else.

The mux is its transport. It is given plaintext packets, without a tag, and what it writes are such
too: it never sees a ciphertext, nor the socket. When it changes keys, its cipher objects are taken
from it, and a cipher that does nothing stands in their place. All of RFC 4254 is the mux's.

Every private name of asyncssh that the relay stands on is in this file (and three in `ciphers.py`);
`tests/ssh/test_guest.py` lists them, with a hash of each method whose inside they rely on.
"""

from __future__ import annotations

import asyncio
import copy
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

import asyncssh
from asyncssh.connection import SSHClientConnection, SSHConnection, SSHServerConnection
from asyncssh.kex import Kex, get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.packet import SSHPacket

from relay.ssh.ciphers import Cipher, cipher_for
from relay.ssh.kex import ServerKex
from relay.trust import algorithms
from relay.trust.user_certificates import (
    decode_public_key,
    decode_user_certificate,
    presence,
    signature_problem,
)
from relay.wire.encoding import Reader, string
from relay.wire.messages import unimplemented
from relay.wire.numbers import (
    MSG_IGNORE,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_UNIMPLEMENTED,
)
from relay.wire.packet import PAYLOAD_OFFSET, TAG_SIZE, frame

KEXINIT_PATIENCE: Final = 1.0
"""Seconds that B waits for the client's KEXINIT before it sends its own. Every client we know
sends at once (RFC 4253 §7.1 lets both); one that waits for ours is offered all ciphers."""

LONGEST_REASON: Final = 400
"""Characters of what is told of a connection's end. It may be of the peer's making; a whole list of
algorithms that have none in common is about as long."""

CURVE25519: Final = b"curve25519-sha256"
"""A key exchange that asyncssh always has."""


def available(names: tuple[str, ...], known: list[bytes]) -> list[str]:
    """Those of `names` that asyncssh has on this machine (post-quantum ones need new OpenSSL)."""
    return [name for name in names if name.encode() in known]


def common_options(*, server: bool, ciphers: tuple[str, ...]) -> dict[str, Any]:
    """The options that every leg has: our algorithms and nothing of the user's asyncssh."""
    return {
        "config": None,
        "kex_algs": available(
            algorithms.SERVER_KEX if server else algorithms.CLIENT_KEX, get_kex_algs()
        ),
        "encryption_algs": list(ciphers or algorithms.CIPHERS),
        "mac_algs": available(algorithms.MACS, get_mac_algs()),
        "compression_algs": None,
        "signature_algs": list(algorithms.SIGNATURES),
        "x509_trusted_certs": None,
        "host_based_auth": False,
        "kbdint_auth": False,
        "password_auth": False,
        "gss_host": None,
        # When keys are changed, and whether the peer is alive, is the leg's to say.
        "rekey_bytes": 2**63,
        "rekey_seconds": 0,
        "keepalive_interval": 0,
    }


class Host(Protocol):
    """What a guest asks of its leg."""

    def guest_line(self, line: bytes) -> None:
        """Send this, before the first packet."""

    def guest_sends(self, payload: bytes) -> None:
        """Send this message."""

    def lines_are_over(self) -> None:
        """The peer's version has come."""

    def seal_with(self, cipher: Callable[[int], Cipher], *, strict: bool) -> None:
        """Our NEWKEYS was sent: by this from now on (see `Mux.seal_with`)."""

    def open_with(self, cipher: Callable[[int], Cipher], *, strict: bool) -> None:
        """The peer's NEWKEYS has come: by this from now on."""

    def keys_changed(self) -> None:
        """What had to go out first under the new keys has gone out."""

    def guest_ready(self) -> None:
        """What the guest was busy with is done."""

    def guest_ended(self, error: Exception | None) -> None:
        """The connection is over, by what came or by a fault of the guest."""

    @property
    def received_packets(self) -> int:
        """The packets that have come, by which an UNIMPLEMENTED names one."""


class _NoCipher:
    """What the guest has for a cipher: it does nothing."""

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        return header + packet, b""

    def decrypt_header(self, seq: int, first: bytes, header_len: int) -> tuple[bytes, bytes]:
        return first, first[:header_len]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes:
        return first[header_len:] + rest


_NO_CIPHER: Final = _NoCipher()


class _Transport(asyncio.Transport):
    """The guest's: what it writes is a line or one packet, in plaintext."""

    def __init__(self, guest: Guest, addresses: dict[str, Any]) -> None:
        super().__init__(addresses)
        self._guest = guest

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._guest.writes(bytes(data))

    def abort(self) -> None:
        """The leg has been told."""


class Guest(SSHConnection):
    """One connection's handshake."""

    host: Host
    """The leg sets itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # What asyncssh has put in place of its own ciphers; None: no keys yet.
        self._sends_with: object | None = None
        self._receives_with: object | None = None
        # What it writes while it changes keys: NEWKEYS, and what has to be right behind it.
        self._held: list[bytes] | None = None
        # What it writes first is a line.
        self._version_sent = False
        # Packets that it was given and has not finished with.
        self._unfinished = 0
        self._running: set[asyncio.Task[None]] = set()
        self.ended = False
        super().__init__(*args, **kwargs)

    # -- what the leg calls

    def begin(self, addresses: dict[str, Any]) -> None:
        """Send our version. `addresses` are the socket's `sockname` and `peername`, if any."""
        self.connection_made(_Transport(self, addresses))

    def line(self, data: bytes) -> None:
        """A line of the peer's, or a piece of one."""
        version = self._version_of_peer
        self.data_received(data)
        if self._version_of_peer != version and not self.ended:
            self.host.lines_are_over()

    def packet(self, payload: bytes) -> None:
        """A message of the peer's, below 80."""
        self._unfinished += 1
        self.data_received(bytes(frame(payload)[:-TAG_SIZE]))

    @property
    def busy(self) -> bool:
        """It works on a packet in a task. What else it is given waits."""
        return self._unfinished > 0 and not self.ended

    def change_keys(self) -> None:
        """Send a KEXINIT (RFC 4253 §9)."""
        self._send_kexinit()
        self._kexinit_sent = True

    # -- what asyncssh calls

    def writes(self, data: bytes) -> None:
        """asyncssh sends a line, or a packet."""
        if self.ended:
            return
        if not self._version_sent:
            self._version_sent = True
            self.host.guest_line(data)
            return
        payload = data[PAYLOAD_OFFSET : len(data) - data[PAYLOAD_OFFSET - 1]]
        if payload[0] == MSG_IGNORE:
            return  # One before each message, which only CBC has a use for (RFC 4251 §9.3.1).
        if payload[0] == MSG_UNIMPLEMENTED:
            payload = unimplemented(self.host.received_packets - 1)
        if self._held is None:
            self.host.guest_sends(payload)
        else:
            self._held.append(payload)

    @property
    def _version_of_peer(self) -> Any:
        return self.get_extra_info("client_version" if self.is_server() else "server_version")

    @property
    def _send_encryption(self) -> Any:
        return self._sends_with and _NO_CIPHER

    @_send_encryption.setter
    def _send_encryption(self, value: Any) -> None:
        self._sends_with = value

    @property
    def _recv_encryption(self) -> Any:
        return self._receives_with and _NO_CIPHER

    @_recv_encryption.setter
    def _recv_encryption(self, value: Any) -> None:
        self._receives_with = value
        if value is not None:
            self.host.open_with(self._cipher_of("recv", value), strict=self._strict_kex)

    @property
    def _recv_macsize(self) -> int:
        return 0

    @_recv_macsize.setter
    def _recv_macsize(self, value: int) -> None:
        pass

    def _cipher_of(self, direction: str, encryption: Any) -> Callable[[int], Cipher]:
        cipher, mac = (self.get_extra_info(f"{direction}_{what}") for what in ("cipher", "mac"))
        return cipher_for(encryption, cipher, mac)

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        self._held = []
        super().send_newkeys(k, h)
        held, self._held = self._held, None
        if self.ended:
            return
        for payload in held:
            self.host.guest_sends(payload)
            if payload[0] == MSG_NEWKEYS:
                self.host.seal_with(
                    self._cipher_of("send", self._sends_with), strict=self._strict_kex
                )
        self.host.keys_changed()

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: Any = None, is_async: bool = False
    ) -> None:
        self._unfinished -= 1
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        if is_async and not self.ended:
            self.host.guest_ready()

    def create_task(self, coro: Awaitable[None], task_logger: Any = None) -> asyncio.Task[None]:
        task = super().create_task(coro, task_logger)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        """asyncssh caught what it does not know: the leg says whose fault it is."""
        self._force_close(cast(Exception, (exc_info or sys.exc_info())[1]))

    def _force_close(self, exc: Exception | None) -> None:
        if self.ended:
            return
        self.ended = True
        if isinstance(exc, asyncssh.DisconnectError):
            exc.reason = exc.reason[:LONGEST_REASON]
            exc.args = (exc.reason,)
        # asyncssh leaves its tasks running.
        for task in tuple(self._running):
            task.cancel()
        super()._force_close(exc)
        self.host.guest_ended(exc)


class ServerHost(Host, Protocol):
    """What the serving side asks of its leg besides."""

    def signature_refused(self, algorithm: str) -> None:
        """The client signed with an algorithm that is not accepted."""

    def validate_key(self, key: asyncssh.SSHKey) -> bool:
        """Is this key authorized? Its signature is verified then."""

    def validate_certificate(self, username: str, certificate: Any) -> asyncssh.SSHKey | None:
        """The key of a user certificate that is accepted, or None."""

    def validate_presence(self, presence: tuple[bool, bool] | None) -> bool:
        """Does what a security key says of its user, who touched it and proved to be its owner,
        do for the key that was just validated? None: it is no security key."""

    def login_refused(self) -> None:
        """A request to log in is refused; raises `asyncssh.DisconnectError` if there were too
        many."""


class ServerGuest(Guest, SSHServerConnection):
    """B's side."""

    host: ServerHost

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._own_kex: Kex | None = None
        self._kex_chosen = b""
        # The exchange hash of the first key exchange (RFC 4253 §7.2).
        self._session = b""
        # Our first KEXINIT waits for the client's.
        self._kexinit_timer: asyncio.TimerHandle | None = None
        self._client_was_heard = False
        # The host key that was chosen, with the algorithm that this client chose for it.
        self.host_key: asyncssh.SSHKeyPair | None = None
        super().__init__(*args, **kwargs)

    def packet(self, payload: bytes) -> None:
        if payload[0] == MSG_KEXINIT and not self._client_was_heard:
            self._client_was_heard = True
            if self._kexinit_timer is not None:
                self._offer(_ciphers_of(payload))
        super().packet(payload)

    # -- key exchange

    def _send_kexinit(self) -> None:
        if self._session or self._client_was_heard:
            super()._send_kexinit()
            return
        # Which ciphers to offer depends on what the client offers: see `offer_to`.
        loop = asyncio.get_running_loop()
        self._kexinit_timer = loop.call_later(KEXINIT_PATIENCE, self._offer, ())

    def _offer(self, client: tuple[str, ...]) -> None:
        """B's first KEXINIT, once it is known what the client offers, or it has kept silent."""
        if self._kexinit_timer is None or self.ended:
            return
        self._kexinit_timer.cancel()
        self._kexinit_timer = None
        ours = tuple(name.decode() for name in self._enc_algs)
        if client:
            offered = algorithms.offer_to(client, ours)
            self._enc_algs = [name.encode() for name in offered]
            if algorithms.brings_its_own_mac(offered):
                self._mac_algs = [name.encode() for name in algorithms.ETM_MACS]
        super()._send_kexinit()

    def _choose_alg(self, alg_type: str, local_algs: Any, remote_algs: Any) -> bytes:
        chosen: bytes = super()._choose_alg(alg_type, local_algs, remote_algs)
        if alg_type != "key exchange":
            return chosen
        self._kex_chosen = chosen
        return CURVE25519  # Whatever it makes of it, `_kex` is ours.

    def choose_server_host_key(self, peer_host_key_algs: Any) -> bool:
        # asyncssh writes the algorithm that one client chooses into what all clients share.
        chosen: bool = super().choose_server_host_key(peer_host_key_algs)
        self.host_key = copy.copy(self.get_server_host_key())
        return chosen

    @property
    def _kex(self) -> Kex | None:
        return self._own_kex

    @_kex.setter
    def _kex(self, value: Kex | None) -> None:
        self._own_kex = ServerKex(self._kex_chosen, self) if value is not None else None

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        self._session = self._session or h
        super().send_newkeys(k, h)

    # -- login

    async def reload_config(self) -> None:
        """asyncssh reads its configuration anew for each user; there is none."""

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """asyncssh verifies whatever algorithm the signature names; ours must be among those
        that we announce (RFC 8332 §3: SHA-1 is not). And what a security key vouches for is ours
        to judge: asyncssh would not do so for what a certificate says."""
        if msg:
            algorithm = SSHPacket(signature).get_string().decode("ascii", "replace")
            if algorithm not in algorithms.SIGNATURES:
                self.host.signature_refused(algorithm)
                return False
        certificate = decode_user_certificate(key_data)
        if certificate is None:
            key = self._authorized(key_data)
        else:
            key = self.host.validate_certificate(username, certificate)
        if key is None or not msg:
            return key is not None
        key.set_touch_required(False)
        verified: bool = key.verify(string(self._session) + msg, signature)
        return verified and self.host.validate_presence(presence(signature))

    def _authorized(self, key_data: bytes) -> asyncssh.SSHKey | None:
        key = decode_public_key(key_data)
        return key if key is not None and self.host.validate_key(key) else None

    def send_userauth_failure(self, partial_success: bool) -> None:
        self.host.login_refused()
        super().send_userauth_failure(partial_success)

    def _force_close(self, exc: Exception | None) -> None:
        if self._kexinit_timer is not None:
            self._kexinit_timer.cancel()
            self._kexinit_timer = None
        super()._force_close(exc)


def _ciphers_of(kexinit: bytes) -> tuple[str, ...]:
    """Those that a KEXINIT offers for what its sender sends (RFC 4253 §7.1). Raises
    `ProtocolViolation`."""
    reader = Reader(kexinit)
    reader.skip(1 + 16)  # The message number and the cookie.
    for _ in range(2):
        reader.string()
    return tuple(reader.string().decode("ascii", "replace").split(","))


class ClientGuest(Guest, SSHClientConnection):
    """A's or C's side."""

    def _validate_openssh_host_certificate(
        self, host: str, addr: str, port: int, cert: Any
    ) -> asyncssh.SSHKey:
        if problem := signature_problem(cert):
            raise ValueError(problem)
        key: asyncssh.SSHKey = super()._validate_openssh_host_certificate(host, addr, port, cert)
        return key
