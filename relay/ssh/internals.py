"""Every private name of asyncssh that the relay stands on, and nothing else.

asyncssh runs version exchange, key exchange, authentication and global requests. This file
opens it at four joints, so that `leg.py` can carry data beside it:

* *cipher*: `GcmEncryption` takes the place of asyncssh's own in its table of ciphers, so that
  both paths share one key and one counter (`GcmCipher`);
* *input*: `feed` hands it bytes, `feed_opened` one packet that is opened already;
* *output*: all that it sends comes to `write`, without the IGNORE packet that it puts
  before each (RFC 4251 §9.3.1 needs one only under CBC), and it says when keys change;
* *dispatch*: channel opens and forwards arrive at methods with plain arguments.

`tests/ssh/test_internals.py` names each of them, with a hash of each method whose inside we
rely on, and fails with a clear message when asyncssh changes one.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha512
from typing import Any, Final, cast

import asyncssh
from asyncssh.connection import SSHClientConnection, SSHConnection, SSHServerConnection
from asyncssh.crypto import Curve25519DH
from asyncssh.encryption import GCMEncryption as AsyncsshGcmEncryption
from asyncssh.encryption import _enc_params
from asyncssh.kex import get_kex_algs, register_kex_alg
from asyncssh.kex_dh import MSG_KEX_ECDH_INIT, _KexHybridECDH
from asyncssh.mac import get_mac_algs
from asyncssh.packet import PacketDecodeError, SSHPacket

from relay.core.channel import MIN_PACKET
from relay.core.handshake import BeforeLogin, KeyExchanges
from relay.core.limits import (
    ANSWERS_DEFERRED,
    BYTES_BEFORE_LOGIN,
    BYTES_BEFORE_OUR_LOGIN,
    FED_AT_ONCE,
    PACKETS_BEFORE_LOGIN,
    PACKETS_BEFORE_OUR_LOGIN,
)
from relay.errors import INTERNAL, ProtocolViolation, Replaced
from relay.observe.faults import whatever_fails
from relay.ssh.handler import OpenRefused
from relay.trust import algorithms
from relay.trust.user_certificates import decode_user_certificate, presence, signature_problem
from relay.wire import messages, sntrup
from relay.wire.encoding import byte, string, uint32
from relay.wire.gcm import MAX_BLOCKS, MAX_PACKETS, GcmCipher, TagMismatch
from relay.wire.numbers import (
    DISCONNECT_REPLACED,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN,
    MSG_DEBUG,
    MSG_GLOBAL_REQUEST,
    MSG_KEX_LAST,
    MSG_KEXINIT,
    MSG_NEWKEYS,
    MSG_REQUEST_SUCCESS,
    MSG_SERVICE_ACCEPT,
    MSG_SERVICE_REQUEST,
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_LAST,
    PRIVATE,
)
from relay.wire.packet import BLOCK_SIZE, LENGTH_SIZE, OVERHEAD, TAG_SIZE, frame

MAX_GLOBAL_REQUESTS: Final = 64
"""Global requests that may wait for their turn. ssh has one for each -R under way; asyncssh has
no bound, and each would keep its packet."""

KEXINIT_PATIENCE: Final = 1.0
"""Seconds that B waits for the client's KEXINIT before it sends its own. Every client we know
sends at once (RFC 4253 §7.1 lets both); one that waits for ours is offered all ciphers."""

SLOW_REKEY_BYTES: Final = 2**30
"""RFC 4253 §9: "after each gigabyte of transmitted data", for the ciphers without a reason to
do otherwise; OpenSSH does so for chacha20 too."""

SIGNER: Final = ThreadPoolExecutor(1, "rsa")
"""Makes RSA signatures, which take milliseconds and leave the interpreter to others meanwhile. One
thread: a host key is one for all, and a leg has no more than one exchange under way."""

RSA: Final = b"ssh-rsa"

LONGEST_REASON: Final = 400
"""Characters of what is told of a connection's end. It may be of the peer's making; a whole list of
algorithms that have none in common is about as long."""

LONGEST_LINE: Final = 8192
"""Of those before the first packet. asyncssh refuses longer ones."""

CHANNEL_KINDS: Final = frozenset(
    (
        b"direct-tcpip",
        b"direct-streamlocal@openssh.com",
        b"session",
        b"tun@openssh.com",
    )
)
"""What a client may ask of us by CHANNEL_OPEN, be it to hear that it is not given."""

LATE_BYTES: Final = 256 * 2**20
"""What a peer may still send under the old keys after our KEXINIT: what it had under way when it
heard of it. Twice what a path of 10 Gbit/s and 100 ms holds."""

NEVER_GIVE_UP: Final = 2**31 - 1
"""Questions without an answer after which a peer is given up, where it never is: asyncssh has no
word for that."""

LONGEST_PATIENCE: Final = 24 * 3600.0
"""Seconds of silence that are worth telling the kernel of, which gives up earlier by itself: its
timeouts are counted in 31 bits of milliseconds."""

_log: Final = logging.getLogger(INTERNAL)


class GcmEncryption(AsyncsshGcmEncryption):
    """asyncssh's face of `GcmCipher`. `opened` holds the packet that was opened in place, while
    asyncssh is fed with it."""

    # The base class's constructor wants asyncssh's own cipher object, which this one replaces.
    def __init__(self, cipher: GcmCipher) -> None:
        self.cipher = cipher
        self.opened: bytes | None = None

    @classmethod
    def new(
        cls,
        cipher_name: str,
        key: bytes,
        iv: bytes,
        mac_alg: bytes = b"",
        mac_key: bytes = b"",
        etm: bool = False,
    ) -> GcmEncryption:
        return cls(GcmCipher(key, iv))

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        buffer = bytearray(header + packet + bytes(TAG_SIZE))
        self.cipher.seal(memoryview(buffer), 0, len(packet))
        return bytes(buffer[:-TAG_SIZE]), bytes(buffer[-TAG_SIZE:])

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        opened, self.opened = self.opened, None
        if opened is not None:
            return opened
        buffer = bytearray(first + rest + mac)
        length = len(first) + len(rest) - LENGTH_SIZE
        try:
            self.cipher.open(memoryview(buffer), 0, length)
        except TagMismatch:
            return None
        return bytes(buffer[LENGTH_SIZE : LENGTH_SIZE + length])


def install_ciphers() -> None:
    """Put `GcmEncryption` in asyncssh's table. Harmless to other users of asyncssh."""
    for name in algorithms.FAST_CIPHERS:
        _, cipher_name = _enc_params[name.encode()]
        _enc_params[name.encode()] = (GcmEncryption, cipher_name)


install_ciphers()


class Sntrup761:
    """asyncssh's face of `wire.sntrup`, for the side that serves."""

    pubkey_bytes = sntrup.PUBLIC_KEY_SIZE
    privkey_bytes = 0
    ciphertext_bytes = sntrup.CIPHERTEXT_SIZE
    secret_bytes = sntrup.SECRET_SIZE

    def __init__(self, alg_name: bytes) -> None:
        # What `prepare` has made for the next `encaps`.
        self._prepared: tuple[bytes, bytes] | None = None

    def get_public(self) -> bytes:
        raise NotImplementedError("only a server's half is there")

    async def prepare(self, peer_public: bytes) -> None:
        """Do the work of `encaps`, which takes a millisecond and more, in turn with others."""
        steps = sntrup.encapsulation(peer_public)
        while self._prepared is None:
            try:
                next(steps)
            except StopIteration as end:
                self._prepared = end.value
            else:
                await asyncio.sleep(0)

    def encaps(self, peer_public: bytes) -> tuple[bytes, bytes]:
        prepared, self._prepared = self._prepared, None
        return prepared or sntrup.encapsulate(peer_public)

    def decaps(self, ciphertext: bytes) -> bytes:
        raise NotImplementedError("only a server's half is there")


def install_key_exchanges() -> None:
    """Enter `Sntrup761` where asyncssh has no liboqs to do it. Nobody gets it who does not name
    it, as `SERVER_KEX` does."""
    for name in algorithms.SNTRUP_KEX:
        if name.encode() not in get_kex_algs():
            arguments = (Sntrup761, b"sntrup761", Curve25519DH)
            register_kex_alg(name.encode(), _KexHybridECDH, sha512, arguments, False)


install_key_exchanges()


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
        # Keys are changed by what passed under them, both ways, as ssh does; see `rekey_if_due`.
        "rekey_bytes": 2**63,
        "rekey_seconds": 0,
    }


class Answer:
    """What asyncssh is to give the answer to, where it would have a future: whoever waits for that
    runs only when all that was received is used."""

    def __init__(self, answered: Callable[[bytes | None], None]) -> None:
        self._answered = answered

    def cancelled(self) -> bool:
        return False

    def set_result(self, result: tuple[int, SSHPacket]) -> None:
        kind, packet = result
        self._answered(_rest(packet) if kind == MSG_REQUEST_SUCCESS else None)


class FastConnection(SSHConnection):
    """An `SSHConnection` whose packet loop and whose socket are somebody else's (`Leg`)."""

    # Set by the owner before the connection starts; 0: what the cipher allows.
    rekey_limit: int = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The ciphers in force, when they are AES-GCM; None: asyncssh's own path. Kept in step
        # with asyncssh's `_recv_encryption` and `_send_encryption` by `_ciphers_changed`.
        self.opener: GcmCipher | None = None
        self.sealer: GcmCipher | None = None
        # Bytes and packets in both directions since keys last changed.
        self._keyed_bytes = 0
        self._keyed_packets = 0
        # What `_keyed_bytes` was when we last sent a KEXINIT.
        self._kexinit_at = 0
        # Messages that wait for the end of a key exchange and answer what the peer has asked.
        self._answers_deferred = 0
        # The loop's time at which the peer was last heard.
        self._heard = 0.0
        self._kexinit_timer: asyncio.TimerHandle | None = None
        # What the peer has sent; None once it (or we) have logged in.
        self.before_login: BeforeLogin | None = (
            BeforeLogin(PACKETS_BEFORE_LOGIN, BYTES_BEFORE_LOGIN)
            if self.is_server()
            else BeforeLogin(PACKETS_BEFORE_OUR_LOGIN, BYTES_BEFORE_OUR_LOGIN)
        )
        self.key_exchanges = KeyExchanges()
        # How often the keys were changed, whoever asked for it.
        self.rekeys = 0

    # -- what Leg provides

    def write(self, data: bytes | bytearray) -> None:
        """Send `data`, which is sealed, behind all that was written before."""
        raise NotImplementedError

    def keys_changing(self) -> None:
        """No data may be sent until `keys_changed`."""

    def keys_changed(self) -> None:
        """Data may be sent again."""
        raise NotImplementedError

    @property
    def listening(self) -> bool:
        """Is the peer's input read at present?"""
        raise NotImplementedError

    def input_resumed(self) -> None:
        """asyncssh has finished with the packet that it made us wait for."""
        raise NotImplementedError

    def closed(self) -> None:
        """The connection is gone; its channels have been told."""
        raise NotImplementedError

    # -- state

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the leg lives in."""
        return self._loop

    @property
    def alive(self) -> bool:
        """False once the connection is closing: nothing more is read or sent."""
        return self._transport is not None

    @property
    def can_send(self) -> bool:
        """Authenticated, and not between a KEXINIT of ours and our NEWKEYS (RFC 4253 §7.1)."""
        return self._kex_complete and self._auth_complete

    @property
    def waits(self) -> bool:
        """asyncssh works on a packet in a task, and takes no other until it is done."""
        handler = self._recv_handler
        return handler not in (self._recv_version, self._recv_pkthdr, self._recv_packet)

    @property
    def deferred(self) -> int:
        """Messages that wait for the end of a key exchange."""
        return len(self._deferred_packets)

    def add_handler(self, handler: object) -> int:
        """Give a channel its number and an entry in the table."""
        return self.add_channel(cast(Any, handler))

    @property
    def handlers(self) -> Mapping[int, object]:
        """The channels' handlers by local number."""
        return self._channels

    def fail(self, error: BaseException) -> None:
        """End the leg: tell the peer if it did it, close the socket, tell every channel."""
        if isinstance(error, ProtocolViolation):
            code, reason = asyncssh.DISC_PROTOCOL_ERROR, str(error)
            if isinstance(error, TagMismatch):
                code = asyncssh.DISC_MAC_ERROR
            self._send_disconnect(code, reason, "en-US")
        elif isinstance(error, Replaced):
            self._send_disconnect(DISCONNECT_REPLACED, str(error), "en-US")
        self._force_close(cast(Exception, error))

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        """asyncssh caught what it does not know: a violation that a handler of ours saw, what
        asyncssh itself stumbled over, or a fault of ours, which is logged with its trace and ends
        this leg only."""
        error = (exc_info or sys.exc_info())[1]
        if not isinstance(error, ProtocolViolation) and self._stumbled_over(error):
            _log.debug("a message that cannot be used", exc_info=error)
            what = str(error) if isinstance(error, PacketDecodeError) else type(error).__name__
            error = ProtocolViolation(f"a message that cannot be used: {what}")
        if isinstance(error, ProtocolViolation):
            self.fail(error)
            return
        _log.error("internal error on a leg", exc_info=error)
        super().internal_error(exc_info, error_logger)

    def _stumbled_over(self, error: BaseException | None) -> bool:
        """Is this the peer's doing? asyncssh lets through whatever its decoders and the library of
        ciphers raise. Before the login, where all is its code, every error is the peer's: no
        stranger is worth a trace."""
        if isinstance(error, PacketDecodeError | UnicodeError):
            return True
        changes_keys = not self._kex_complete and isinstance(error, ValueError)
        return changes_keys or not self._auth_complete

    # -- input

    def feed(self, data: bytes) -> int:
        """Hand asyncssh bytes to parse and, if need be, decrypt; returns the packets in them, a
        line or a part of one being one too. Raises `ProtocolViolation`."""
        before, deferred = self._recv_seq, self.deferred
        if self.before_login is not None:
            self.before_login.came(len(data))
            if self._recv_handler == self._recv_version:
                self.before_login.packet()
        self._keyed_bytes += len(data)
        self._inpbuf += data
        self._recv_data()
        self._ciphers_changed()
        if self.deferred > deferred:
            self._answers_deferred += self.deferred - deferred
            if self._answers_deferred > ANSWERS_DEFERRED:
                raise ProtocolViolation("too many requests during a key exchange")
        return max(1, self._recv_seq - before)  # It may have begun anew (strict key exchange).

    def feed_opened(self, packet: bytes, opened: bytes) -> None:
        """Hand asyncssh one packet as it came and as it was opened in place."""
        cast(GcmEncryption, self._recv_encryption).opened = opened
        self.feed(packet)

    def needed(self, view: memoryview, start: int, end: int) -> int:
        """How many of the bytes at `start` make one unit for `feed`; 0: more must come first.

        A version line, a packet before the first keys, or what there is of a ciphertext whose
        length only asyncssh can read. Raises `ProtocolViolation`.
        """
        if self._recv_handler == self._recv_version:
            newline = bytes(view[start : min(end, start + LONGEST_LINE)]).find(b"\n")
            return newline + 1 if newline >= 0 else end - start
        if self._recv_encryption is not None or self._recv_handler != self._recv_pkthdr:
            return min(end - start, FED_AT_ONCE)
        if end - start < LENGTH_SIZE:
            return 0
        length = int.from_bytes(view[start : start + LENGTH_SIZE], "big")
        if self.before_login is not None:
            self.before_login.announced(length)
        # A length out of bounds goes on at once, for asyncssh to refuse.
        size = LENGTH_SIZE + length if length <= self._max_recv_pktlen else end - start
        return size if size <= end - start else 0

    def received_fast(self, packets: int, size: int) -> None:
        """So many packets, of `size` bytes in all, were opened and used without asyncssh."""
        self._recv_seq = (self._recv_seq + packets) & 0xFFFFFFFF
        self._keyed_bytes += size
        self._keyed_packets += packets

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: Any = None, is_async: bool = False
    ) -> None:
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        if self.before_login is not None:
            try:
                self.before_login.packet()
            except ProtocolViolation as error:
                self.fail(error)
        if not self.alive:
            self._inpbuf = b""  # Nothing behind the end of a connection is looked at.
        if is_async:
            self._ciphers_changed()
            if not self.waits:
                self.input_resumed()

    def _ciphers_changed(self) -> None:
        encryption = self._recv_encryption
        self.opener = encryption.cipher if isinstance(encryption, GcmEncryption) else None

    # -- output

    def sent_fast(self, size: int) -> None:
        """A packet of `size` bytes was sealed without asyncssh."""
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._keyed_bytes += size
        self._keyed_packets += 1

    def rekey_if_due(self) -> None:
        """Start a key exchange when enough has passed under these keys (RFC 4253 §9)."""
        limit = self.rekey_limit
        if not limit:
            limit = MAX_BLOCKS * BLOCK_SIZE if self.sealer else SLOW_REKEY_BYTES
        due = self._keyed_bytes >= limit or self._keyed_packets >= MAX_PACKETS
        if due and self.can_send and self._kex is None and self.alive:
            self._send_kexinit()
            self._kexinit_sent = True

    def check_rekey(self) -> None:
        """Does the peer take part in the key exchange that it was asked for? Raises
        `ProtocolViolation`."""
        late = self._keyed_bytes - self._kexinit_at
        if self._auth_complete and not self._kex_complete and late > LATE_BYTES:
            raise ProtocolViolation(f"{late} bytes since the peer was asked to change keys")

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """asyncssh's `send_packet`: the same deferring and counting, without its IGNORE."""
        if not self.alive:
            return  # RFC 4253 §11.1: nothing follows a DISCONNECT.
        encryption = self._send_encryption
        if self._must_defer(pkttype):
            self._deferred_packets.append((pkttype, args))
            return
        payload = byte(pkttype) + b"".join(args)
        if self._compressor is not None:
            # Never negotiated by us; asyncssh's own tests do.
            super().send_packet(pkttype, *args, handler=handler)
            return
        if isinstance(encryption, GcmEncryption):
            framed = frame(payload)
            encryption.cipher.seal(memoryview(framed), 0, len(framed) - OVERHEAD)
            packet = bytes(framed)
        else:
            packet = self._seal_slowly(payload)
        seq = self._send_seq
        if seq == 0xFFFFFFFF and encryption is None:
            self._send_seq = 0  # The DISCONNECT that follows must not raise again.
            raise asyncssh.ProtocolError("Sequence rollover before kex complete")
        strict = pkttype == MSG_NEWKEYS and self._strict_kex
        self._send_seq = 0 if strict else (seq + 1) & 0xFFFFFFFF
        self._keyed_bytes += len(packet)
        self._keyed_packets += 1
        if pkttype == MSG_NEWKEYS:
            self._keyed_bytes = self._keyed_packets = 0
        # Last: it may come back here with a packet that waited.
        self.write(packet)
        if pkttype > MSG_USERAUTH_LAST:
            self.rekey_if_due()

    def _must_defer(self, pkttype: int) -> bool:
        """RFC 4253 §7.1: between KEXINIT and NEWKEYS only the key exchange itself is sent."""
        if not self._kex_complete and (
            pkttype > MSG_KEX_LAST
            or pkttype in (MSG_DEBUG, MSG_SERVICE_REQUEST, MSG_SERVICE_ACCEPT)
        ):
            return True
        if pkttype == MSG_USERAUTH_BANNER:
            return not (self._auth_in_progress or self._auth_complete)
        return pkttype > MSG_USERAUTH_LAST and not self._auth_complete

    def _seal_slowly(self, payload: bytes) -> bytes:
        """A whole packet as asyncssh's own cipher object makes it (RFC 4253 §6)."""
        padding = -(self._send_enchdrlen + len(payload)) % self._send_blocksize
        if padding < 4:
            padding += self._send_blocksize
        body = byte(padding) + payload + os.urandom(padding)
        header = uint32(len(body))
        if self._send_encryption is None:
            return header + body
        sealed, mac = self._send_encryption.encrypt_packet(self._send_seq, header, body)
        return sealed + mac

    def _send(self, data: bytes) -> None:
        self.write(data)

    def _send_deferred_packets(self) -> None:
        encryption = self._send_encryption
        self.sealer = encryption.cipher if isinstance(encryption, GcmEncryption) else None
        super()._send_deferred_packets()
        if not self.deferred:
            self._answers_deferred = 0
        if self._auth_complete:
            self.before_login = None
        if self.can_send:
            self.keys_changed()

    def send_data_slowly(self, label: int, data: bytes) -> None:
        """A data packet under a cipher that is asyncssh's."""
        self.send_packet(MSG_CHANNEL_DATA, uint32(label), string(data))

    # -- key exchange

    def _send_kexinit(self) -> None:
        if self.is_server() and not self._session_id and not self._client_kexinit:
            # Which ciphers to offer depends on what the client offers: see `offer_to`.
            self._kexinit_timer = self._loop.call_later(KEXINIT_PATIENCE, self._offer, ())
            return
        super()._send_kexinit()
        self._kexinit_at = self._keyed_bytes
        self.keys_changing()

    def _offer(self, client: tuple[str, ...]) -> None:
        """B's first KEXINIT, once it is known what the client offers, or it has kept silent."""
        if self._kexinit_timer is None or not self.alive:
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

    async def _kexinit_received(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        if self._kexinit_timer is not None:
            peek = SSHPacket(packet.get_full_payload())
            peek.get_bytes(1 + 16)  # The message number and the cookie.
            peek.get_namelist()
            peek.get_namelist()
            self._offer(tuple(name.decode("ascii", "replace") for name in peek.get_namelist()))
        elif self._session_id:
            self._check_key_exchange()
            self.rekeys += 1
        await SSHConnection._process_kexinit(self, pkttype, pktid, packet)

    def _check_key_exchange(self) -> None:
        """May the peer change keys now? Raises `ProtocolViolation`."""
        if not self._auth_complete:
            raise ProtocolViolation("a second key exchange before the login")
        if self._next_recv_encryption is not None:
            raise ProtocolViolation("a key exchange before the last one has ended")
        if not self._kexinit_sent:  # Else it answers ours.
            self.key_exchanges.begun(self._keyed_bytes, self._loop.time())

    def _global_request_received(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        if len(self._global_request_queue) >= MAX_GLOBAL_REQUESTS:
            raise asyncssh.ProtocolError("Too many global requests at once")
        peek = SSHPacket(packet.get_full_payload())
        peek.get_byte()
        name, want_reply = peek.get_string(), peek.get_boolean()
        if name.endswith(PRIVATE) and not want_reply:
            self.told(name, _rest(peek))
            return
        SSHConnection._process_global_request(self, pkttype, pktid, packet)

    _packet_handlers = {  # noqa: RUF012  # asyncssh's own, with two of ours
        **SSHConnection._packet_handlers,
        MSG_KEXINIT: _kexinit_received,
        MSG_GLOBAL_REQUEST: _global_request_received,
    }

    # -- global requests (RFC 4254 §4)

    def ask(self, name: bytes, fields: bytes, answered: Callable[[bytes | None], None]) -> None:
        """Ask the peer. `answered` gets the answer's fields, or None if it refused or is gone, as
        soon as the answer is read: before anything that comes behind it."""
        if not self.alive:
            answered(None)
            return
        self._global_request_waiters.append(cast(Any, Answer(answered)))
        self._send_global_request(name, fields, want_reply=True)

    def told(self, name: bytes, fields: bytes) -> None:
        """The peer sent a request of our own (`numbers.PRIVATE`) that wants no answer. One that is
        not known is passed over."""

    def tell(self, name: bytes, fields: bytes = b"") -> None:
        """A global request that wants no answer."""
        self._send_global_request(name, fields)

    # -- keepalive: a clock that is read, not a timer that is made anew for each packet

    def heard(self) -> None:
        """The peer sent something."""
        self._heard = self._loop.time()

    @property
    def silence(self) -> float:
        """Seconds since the peer was last heard."""
        return self._loop.time() - self._heard

    def _reset_keepalive_timer(self) -> None:
        self.heard()

    @property
    def patience(self) -> float:
        """Seconds of silence after which the keepalive gives the peer up; 0: it never does, or so
        late that it makes no difference."""
        seconds = float(self._keepalive_interval or 0) * (self._keepalive_count_max + 1)
        return seconds if seconds <= LONGEST_PATIENCE else 0.0

    def set_keepalive(
        self, interval: float | str | None = None, count_max: int | None = None
    ) -> None:
        super().set_keepalive(cast(Any, interval), cast(Any, count_max))
        self._cancel_keepalive_timer()
        if self._auth_complete:
            self._set_keepalive_timer()

    def _keepalive_timer_callback(self) -> None:
        silence = self.silence
        interval = float(self._keepalive_interval or 0)
        if not self.listening:
            silence = 0.0  # It may have said much: we are the ones who do not listen.
        if silence < interval:
            self._keepalive_count = 0
            self._keepalive_timer = self._loop.call_later(
                interval - silence, self._keepalive_timer_callback
            )
            return
        super()._keepalive_timer_callback()

    # -- its end

    def _cleanup(self, exc: Exception | None) -> None:
        """Whatever fails here is told, and the rest is done all the same: a service that outlives
        its leg keeps everybody else from its name."""
        if self._kexinit_timer is not None:
            self._kexinit_timer.cancel()
            self._kexinit_timer = None
        if isinstance(exc, asyncssh.DisconnectError):
            exc.reason = exc.reason[:LONGEST_REASON]
            exc.args = (exc.reason,)
        # asyncssh leaves its tasks running. Each takes what it raises to `internal_error`.
        for task in tuple(self._tasks):
            task.cancel()
        with whatever_fails("cleaning up"):
            super()._cleanup(exc)
        if self._owner is not None:  # It did not come so far.
            owner, self._owner = self._owner, None
            owner.connection_lost(exc)
        with whatever_fails("closing"):
            self.closed()


def _rest(packet: SSHPacket) -> bytes:
    """What of a message asyncssh has not read."""
    return packet.get_remaining_payload()


Opened = tuple[Any, Any]
"""What asyncssh wants of a channel open: the channel's handler and a session, ours is None."""


def _opened(handler_for: Callable[[str, int, str, int], object], packet: SSHPacket) -> Opened:
    try:
        return handler_for(*messages.parse_tcpip(_rest(packet))), None
    except OpenRefused as refusal:
        raise asyncssh.ChannelOpenError(refusal.code, str(refusal)) from None


class FastServerConnection(FastConnection, SSHServerConnection):
    """B's side of a leg: what the client asks for arrives at the methods without underscore."""

    def direct_tcpip(self, host: str, port: int, origin_host: str, origin_port: int) -> object:
        """A wants a stream to `host:port`. Returns the channel's handler, or raises
        `OpenRefused`."""
        raise NotImplementedError

    async def tcpip_forward(self, host: str, port: int) -> int | None:
        """C wants to publish `host:port`. Returns the port, or None to refuse."""
        raise NotImplementedError

    def cancel_tcpip_forward(self, host: str, port: int) -> bool:
        """C withdraws `host:port`. Returns whether it was published."""
        raise NotImplementedError

    def refused(self, what: str) -> None:
        """The client asked for something that a relay does not give."""
        raise NotImplementedError

    def signature_refused(self, algorithm: str) -> None:
        """The client signed with an algorithm that is not accepted."""
        raise NotImplementedError

    def validate_certificate(self, username: str, certificate: Any) -> Any:
        """The key of a user certificate that is accepted, or None."""
        raise NotImplementedError

    def validate_presence(self, presence: tuple[bool, bool] | None) -> bool:
        """Does what a security key says of its user, who touched it and proved to be its owner,
        do for the key that was just validated? None: it is no security key."""
        raise NotImplementedError

    async def reload_config(self) -> None:
        """asyncssh reads its configuration anew for each user; there is none."""

    def _prohibit(self, what: str) -> Opened:
        self.refused(what)
        raise asyncssh.ChannelOpenError(
            asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, f"this relay gives no {what}"
        )

    async def _kexinit_received(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        await super()._kexinit_received(pkttype, pktid, packet)
        key = self._server_host_key
        if self._kex is None or key is None:
            return
        if key.key_algorithm == RSA:
            # asyncssh writes the algorithm that one client chose into what all clients share.
            self._server_host_key = copy.copy(key)
        self._kex._packet_handlers = {MSG_KEX_ECDH_INIT: self._ecdh_init_received}

    async def _ecdh_init_received(
        self, kex: Any, pkttype: int, pktid: int, packet: SSHPacket
    ) -> None:
        """asyncssh's `_process_init`; what takes more than a millisecond stops nobody else."""
        kex._parse_client_key(packet)
        packet.check_end()
        key = self._server_host_key
        assert key is not None
        post_quantum = getattr(kex, "_pq", None)
        if isinstance(post_quantum, Sntrup761):
            await post_quantum.prepare(kex._client_pub[: sntrup.PUBLIC_KEY_SIZE])
        secret = kex._compute_server_shared()
        digest = kex._compute_hash(key.public_data, secret)
        if key.key_algorithm == RSA:
            signature = await self._loop.run_in_executor(SIGNER, key.sign, digest)
        else:
            signature = key.sign(digest)
        if self.alive:
            kex._send_reply(key.public_data, signature)
            self.send_newkeys(secret, digest)

    def _channel_open_received(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """asyncssh looks for a method of the kind's name, and finds its own inner ones too."""
        peek = SSHPacket(packet.get_full_payload())
        peek.get_byte()
        kind, sender = peek.get_string(), peek.get_uint32()
        _, largest = peek.get_uint32(), peek.get_uint32()
        if largest < MIN_PACKET:
            self.refused(f"packets of {largest} bytes")
            self.send_channel_open_failure(
                sender, asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
                f"the maximum packet size must be {MIN_PACKET} or more", "en-US",
            )  # fmt: skip
            return
        if kind in CHANNEL_KINDS:
            SSHConnection._process_channel_open(self, pkttype, pktid, packet)
            return
        self.refused(f"a channel of the kind {kind.decode('ascii', 'replace')}")
        self.send_channel_open_failure(
            sender, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE, "this relay knows no such channel", "en-US"
        )

    _packet_handlers = {  # noqa: RUF012
        **FastConnection._packet_handlers,
        MSG_CHANNEL_OPEN: _channel_open_received,
        MSG_KEXINIT: _kexinit_received,
    }

    def _process_session_open(self, packet: SSHPacket) -> Opened:
        return self._prohibit("session (shell, command or subsystem); use ssh -N")

    def _process_tun_at_openssh_dot_com_open(self, packet: SSHPacket) -> Opened:
        return self._prohibit("tun device")

    def _process_direct_streamlocal_at_openssh_dot_com_open(self, packet: SSHPacket) -> Opened:
        return self._prohibit("unix socket")

    def _process_direct_tcpip_open(self, packet: SSHPacket) -> Opened:
        return _opened(self.direct_tcpip, packet)

    def _process_streamlocal_forward_at_openssh_dot_com_global_request(
        self, packet: SSHPacket
    ) -> None:
        self.refused("unix socket forwarding")
        self._report_global_response(False)

    def _process_tcpip_forward_global_request(self, packet: SSHPacket) -> None:
        host, port = messages.parse_forward(_rest(packet))
        self.create_task(self._forward(host, port))

    async def _forward(self, host: str, port: int) -> None:
        granted = await self.tcpip_forward(host, port)
        if granted is None:
            self._report_global_response(False)
        else:
            # RFC 4254 §7.1: the port is told only where the client left it to us.
            self._report_global_response(uint32(granted) if port == 0 else True)

    def _process_cancel_tcpip_forward_global_request(self, packet: SSHPacket) -> None:
        host, port = messages.parse_forward(_rest(packet))
        self._report_global_response(self.cancel_tcpip_forward(host, port))

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """asyncssh verifies whatever algorithm the signature names; ours must be among those
        that we announce (RFC 8332 §3: SHA-1 is not). And what a security key vouches for is ours
        to judge: asyncssh would not do so for what a certificate says."""
        if msg:
            algorithm = SSHPacket(signature).get_string()
            if algorithm not in self._sig_algs:
                self.signature_refused(algorithm.decode("ascii", "replace"))
                return False
        certificate = decode_user_certificate(key_data)
        if certificate is None:
            key = await self._validate_client_public_key(username, key_data)
        else:
            key = self.validate_certificate(username, certificate)
        if key is None or not msg:
            return key is not None
        key.set_touch_required(False)
        verified: bool = key.verify(string(self._session_id) + msg, signature)
        return verified and self.validate_presence(presence(signature))


class FastClientConnection(FastConnection, SSHClientConnection):
    """A's or C's side of a leg."""

    def forwarded_tcpip(self, host: str, port: int, origin_host: str, origin_port: int) -> object:
        """B passes on a stream for the service `host:port`. Returns the channel's handler, or
        raises `OpenRefused`."""
        raise NotImplementedError

    def _validate_openssh_host_certificate(
        self, host: str, addr: str, port: int, cert: Any
    ) -> asyncssh.SSHKey:
        if problem := signature_problem(cert):
            raise ValueError(problem)
        key: asyncssh.SSHKey = super()._validate_openssh_host_certificate(host, addr, port, cert)
        return key

    def _process_forwarded_tcpip_open(self, packet: SSHPacket) -> Opened:
        return _opened(self.forwarded_tcpip, packet)
