"""asyncssh as a guest: it exchanges versions and keys, and logs in; nothing else.

The mux is its transport. It is given plaintext packets, without a tag, and what it writes are such
too: it never sees a ciphertext, nor the socket. When it changes keys, its cipher objects are taken
from it, and a cipher that does nothing stands in their place. All of RFC 4254 is the mux's.

Every private name of asyncssh that the relay stands on is in this file and in `server_guest.py`,
and three in `ciphers.py`; `tests/ssh/test_guest.py` lists them, with a hash of each method whose
inside they rely on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

import asyncssh
from asyncssh.connection import SSHClientConnection, SSHConnection

from relay.ssh.ciphers import Cipher, cipher_for
from relay.trust.user_certificates import signature_problem
from relay.wire.messages import unimplemented
from relay.wire.numbers import MSG_IGNORE, MSG_NEWKEYS, MSG_UNIMPLEMENTED
from relay.wire.packet import PAYLOAD_OFFSET, TAG_SIZE, frame

LONGEST_REASON: Final = 400
"""Characters of what is told of a connection's end. It may be of the peer's making; a whole list of
algorithms that have none in common is about as long."""


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


class ClientGuest(Guest, SSHClientConnection):
    """A's or C's side."""

    def line(self, data: bytes) -> None:
        if data.startswith(b"HTTP/") and not self.ended:
            # What it says next is a page; RFC 4253 §4.2 would have us wait for its end.
            self._force_close(asyncssh.ProtocolError("an HTTP server is there, and no SSH server"))
            return
        super().line(data)

    def _validate_openssh_host_certificate(
        self, host: str, addr: str, port: int, cert: Any
    ) -> asyncssh.SSHKey:
        if problem := signature_problem(cert):
            raise ValueError(problem)
        key: asyncssh.SSHKey = super()._validate_openssh_host_certificate(host, addr, port, cert)
        return key
