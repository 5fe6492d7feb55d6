"""A peer that does key exchange and login as it should, and then whatever it is told to.

asyncssh does the honest part. It is shown the messages of the transport and of the login alone; all
payloads, those included, are kept in `Peer.received`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncssh
from asyncssh import SSHClientConnection, SSHServerConnection
from asyncssh.connection import SSHConnection
from asyncssh.packet import Byte, String, UInt32

from tests.attacks.messages import (
    DISCONNECT,
    GLOBAL_REQUEST,
    NEWKEYS,
    NOBODY_KNOWS,
    SERVICE_ACCEPT,
    UNIMPLEMENTED,
    USERAUTH_FAILURE,
    Message,
    anything,
    ignore,
)
from tests.programs.process import GUARD

T = TypeVar("T")

GLOBAL_REQUESTS: Final = bytes([GLOBAL_REQUEST])
KEEPALIVE: Final = GLOBAL_REQUESTS + String("keepalive@openssh.com")


class _Guest(SSHConnection):
    """asyncssh with somebody who looks on. All that comes is decompressed, and with the compression
    `none` that may be done by us."""

    peer: Peer

    @property
    def _decompressor(self) -> _Guest:
        return self

    @_decompressor.setter
    def _decompressor(self, value: object) -> None:
        pass

    def decompress(self, payload: bytes) -> bytes:
        self.peer.came(payload)
        # To a keepalive it may answer: an attack can last.
        hidden = payload[:1] >= GLOBAL_REQUESTS and not payload.startswith(KEEPALIVE)
        if not self.peer.logs_in:
            # Of a login that it knows nothing of.
            hidden |= payload[0] in (SERVICE_ACCEPT, USERAUTH_FAILURE)
        return ignore() if hidden else payload

    def pause_writing(self) -> None:
        self.peer.room.clear()

    def resume_writing(self) -> None:
        self.peer.room.set()

    def _cleanup(self, exc: Exception | None) -> None:
        super()._cleanup(exc)
        self.peer.lost(exc)


class ClientGuest(_Guest, SSHClientConnection):
    """Of one that dials."""


class ServerGuest(_Guest, SSHServerConnection):
    """Of one that is dialled."""


class Peer:
    """One side of one leg, in the hands of a test."""

    def __init__(self, guest: _Guest) -> None:
        self.guest: Any = guest
        guest.peer = self
        # All that came since the first packet, in its order; and what `expect` has not taken of it.
        self.received: list[Message] = []
        self._untaken: list[Message] = []
        self._news = asyncio.Event()
        # The other side takes what is sent.
        self.room = asyncio.Event()
        self.room.set()
        # What comes is read; else it waits on its way.
        self.reads = True
        # The guest logs in; else that is left to the test.
        self.logs_in = True
        # The leg is over; `error` says how, if it broke.
        self.over = False
        self.error: Exception | None = None

    @property
    def address(self) -> str:
        """As it stands in the other side's log."""
        return f"{self.guest._local_addr}:{self.guest._local_port}"

    # -- what the guest tells

    def came(self, payload: bytes) -> None:
        message = Message(payload)
        self.received.append(message)
        self._untaken.append(message)
        self._news.set()

    def lost(self, error: Exception | None) -> None:
        self.over, self.error = True, error
        self.room.set()
        self._news.set()

    # -- to send

    async def send(self, *payloads: bytes) -> None:
        """Send messages now, in one piece, whatever state the leg is in. To a leg that is over
        nothing is sent; while the other side takes nothing, this waits."""
        await self.raw(b"".join(map(self._framed, payloads)))

    async def seal(self, body: bytes) -> None:
        """Send a packet of this body, padding length and padding included, however wrong."""
        await self.raw(self._sealed(body))

    def _framed(self, payload: bytes) -> bytes:
        padding = 16 - (1 + len(payload)) % 16
        padding += 16 if padding < 4 else 0
        return self._sealed(Byte(padding) + payload + bytes(padding))

    def _sealed(self, body: bytes) -> bytes:
        guest = self.guest
        header, cipher, sequence = UInt32(len(body)), guest._send_encryption, guest._send_seq
        guest._send_seq = (sequence + 1) & 0xFFFFFFFF
        return (
            header + body
            if cipher is None
            else b"".join(cipher.encrypt_packet(sequence, header, body))
        )

    async def raw(self, text: bytes) -> None:
        """Send bytes as they are."""
        if not self.over:
            self.guest._send(text)
            await _guarded(self.room.wait(), "the other side takes nothing")

    # -- to wait

    async def expect(self, *numbers: int, **fields: object) -> Message:
        """Take the first message of one of these numbers, with these fields, that was not taken
        before."""
        while True:
            for message in self._untaken:
                if message.matches(numbers, fields):
                    self._untaken.remove(message)
                    return message
            wanted = f"{numbers} {fields} among {self.received}"
            assert not self.over, f"ended ({self.error}) without {wanted}"
            await self._something_new(f"no message {wanted}")

    def has(self, number: int, **fields: object) -> bool:
        """Has such a message come, taken or not? For what must not be there, after what must."""
        return any(message.matches((number,), fields) for message in self.received)

    def forget(self) -> None:
        """Drop all that has come so far."""
        self.received.clear()
        self._untaken.clear()

    async def disconnected(self, code: int | None = None) -> None:
        """The other side ends the leg for what was sent, with this reason if any is given. (What
        it says can be lost where it closes with something unread: the kernel sends RST then.)"""
        await self.settled()
        assert self.over, f"the leg goes on: {self.received}"
        said = [message.code for message in self.received if message.number == DISCONNECT]
        if code is not None and (said or not isinstance(self.error, OSError)):
            assert said == [code], f"ended for reason {said}: {self.error}"

    async def ended(self) -> None:
        """Wait until the other side has ended the leg, for whatever reason."""
        while not self.over:
            await self._something_new("the leg goes on")

    async def settled(self) -> None:
        """Wait until the other side has taken all that was sent, or has ended the leg."""
        sequence = self.guest._send_seq
        await self.send(anything(NOBODY_KNOWS))
        while not self.over:
            if self.has(UNIMPLEMENTED, sequence=sequence):
                return
            await self._something_new("neither answers nor ends the leg")

    async def _something_new(self, otherwise: str) -> None:
        self._news.clear()
        await _guarded(self._news.wait(), otherwise)

    # -- the rest

    def stop_reading(self) -> None:
        if self.guest._transport is not None:
            self.reads = False
            self.guest._transport.pause_reading()

    def go_on_reading(self) -> None:
        if self.guest._transport is not None:
            self.reads = True
            self.guest._transport.resume_reading()

    def begin_key_exchange(self) -> None:
        """Send an honest KEXINIT; the rest follows when the other side answers."""
        self.guest._send_kexinit()
        self.guest._kexinit_sent = True

    async def change_keys(self) -> None:
        """An honest key exchange, to its end (or to that of the leg)."""
        self.begin_key_exchange()
        had = self._count(NEWKEYS)
        while not self.over and self._count(NEWKEYS) == had:
            await self._something_new("no NEWKEYS")

    def _count(self, number: int) -> int:
        return sum(message.number == number for message in self.received)

    async def vanish(self) -> None:
        """Close the connection without a word."""
        self.guest.abort()
        await self.ended()


async def _guarded(waiting: Awaitable[T], otherwise: str) -> T:
    try:
        return await asyncio.wait_for(waiting, GUARD)
    except TimeoutError:
        raise AssertionError(otherwise) from None


Dial = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Connects what the function makes, as `loop.create_connection` does."""


async def connect(dial: Dial, login: bool = True, **options: Any) -> Peer:
    """A peer that has logged in, or (not `login`) has done its first key exchange alone."""
    loop = asyncio.get_running_loop()
    made = await asyncssh.SSHClientConnectionOptions.construct(
        None, config=None, agent_path=None, known_hosts=None, login_timeout=GUARD, **options
    )
    made.waiter = loop.create_future()
    peer = Peer(ClientGuest(loop, made, wait="auth" if login else "kex"))
    peer.logs_in = login
    await dial(lambda: peer.guest)
    try:
        await made.waiter
    except BaseException:
        peer.guest.abort()
        raise
    return peer
