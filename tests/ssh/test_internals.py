"""What of asyncssh's inside `relay/ssh/internals.py` stands on: each name, and each method whose
inside it relies on, by the hash of its text. When asyncssh changes, these tests say what to read
again. (`tests/conformance` then says whether it still works.)
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import asyncssh
import pytest
from asyncssh import connection, encryption, kex, kex_dh, packet, public_key
from asyncssh.connection import SSHClientConnection, SSHConnection, SSHServerConnection

import relay
from relay.ssh import internals
from relay.ssh.client import ClientLeg
from relay.ssh.internals import FastClientConnection, FastConnection, FastServerConnection
from relay.ssh.leg import Leg
from relay.ssh.server import ServerLeg
from relay.trust import algorithms

ROOT: Final = Path(relay.__file__).parent

SIDES: Final = (SSHServerConnection, SSHClientConnection)

STATE: Final = {
    "_auth_complete", "_auth_in_progress", "_channels", "_client_kexinit",
    "_compressor", "_deferred_packets", "_enc_algs", "_global_request_queue",
    "_global_request_waiters", "_inpbuf",
    "_keepalive_count", "_keepalive_count_max", "_keepalive_interval", "_keepalive_timer", "_kex",
    "_kex_complete",
    "_kexinit_sent", "_loop", "_mac_algs", "_max_recv_pktlen", "_next_recv_encryption", "_owner",
    "_recv_encryption", "_recv_handler", "_recv_seq", "_send_blocksize", "_send_enchdrlen",
    "_send_encryption", "_send_seq", "_server_host_key", "_session_id", "_sig_algs", "_strict_kex",
    "_tasks", "_transport",
}  # fmt: skip
"""The private attributes of a connection that `internals.py` reads or writes."""

HASHES: Final = {
    "`feed`, `needed`: one unit at a time, which is parsed at once": {
        "SSHConnection._recv_data": "509a331c73f87839",
        "SSHConnection._recv_version": "25339e5283f72795",
        "SSHConnection._recv_pkthdr": "5ecb2508920beeef",
        "SSHConnection._recv_packet": "5049c9f32fdf6f06",
    },
    "`_finish_recv_packet`, `waits`, `received_fast`: the count, and a packet awaited": {
        "SSHConnection._finish_recv_packet": "33381f518236e4c8",
        "SSHConnection.create_task": "731a46e2f5b11f24",
        "SSHConnection._reap_task": "1309e49c790f1208",
    },
    "`GcmEncryption`: it stands in asyncssh's table, and is given keys and packets": {
        "encryption.Encryption": "9c3073503ca53ca2",
        "encryption.GCMEncryption": "d255f9e6b1fa73ee",
        "encryption.register_encryption_alg": "212dd442f2889166",
        "encryption.get_encryption_params": "94d714f8def4ae22",
        "encryption.get_encryption": "23e1cd4df063d09b",
    },
    "`Sntrup761`: it stands where a post-quantum key exchange of asyncssh's would": {
        "kex.register_kex_alg": "27945f64443bf6da",
        "kex_dh._KexHybridECDH": "1c8ff2f29d920a2b",
    },
    "`_ecdh_init_received`: `_process_init` and what it calls, and the key that signs": {
        "SSHServerConnection.choose_server_host_key": "c09743b47463bc26",
        "kex_dh._KexDHBase": "2d8bd8626e4cd978",
        "kex_dh._KexECDH": "1ba4886b8a1c2f88",
    },
    "`send_packet`, `_must_defer`, `_seal_slowly`: theirs, but for the IGNORE and the re-keying": {
        "SSHConnection.send_packet": "731d9ba1d3386e80",
        "SSHConnection._send": "6184392532185b24",
        "SSHConnection._send_deferred_packets": "f746b4bae9525741",
    },
    "`_ciphers_changed`, `_send_deferred_packets`, `can_send`: when keys change": {
        "SSHConnection.send_newkeys": "3882f8ab9a2008bc",
        "SSHConnection._process_newkeys": "abae26bea52679a6",
        "SSHConnection.send_userauth_success": "9a49da5d9779ac7f",
        "SSHConnection._process_userauth_success": "2f11defd57c43d1c",
    },
    "`_send_kexinit`, `_offer`, `_kexinit_received`, `rekey_if_due`: when a KEXINIT is sent": {
        "SSHConnection._send_version": "7fe1d4fb644781ad",
        "SSHConnection._send_kexinit": "bdfe2818c1efb2ba",
        "SSHConnection._process_kexinit": "b343c4721982dfd5",
    },
    "`_global_request_received`, `_forward`, `ask`, `tell`: a queue, an answer for each": {
        "SSHConnection._process_global_request": "0577339bfba1ff3d",
        "SSHConnection._service_next_global_request": "9fec07df2e24ec02",
        "SSHConnection._report_global_response": "f9535cbcc68aaf1a",
        "SSHConnection._make_global_request": "513ba8569a21db64",
        "SSHConnection._send_global_request": "cd2fb7609280a123",
        "SSHConnection._process_global_response": "c2be547774498877",
    },
    "`_channel_open_received`, `_opened`, `add_handler`: by the name of a method, to an entry": {
        "SSHConnection.add_channel": "67ab8af0ca3a894c",
        "SSHConnection.remove_channel": "209cf18271e8fb4e",
        "SSHConnection._process_channel_open": "808112582fb07031",
        "SSHConnection._process_channel_open_confirmation": "0d387e1f8622362b",
        "SSHConnection._process_channel_open_failure": "b9c7d55787cf4345",
        "SSHConnection.send_channel_open_failure": "34ebe78958656c66",
        "packet.SSHPacketHandler": "b5212b30795f1485",
    },
    "`alive`, `fail`, `_cleanup`, `internal_error`: how a connection begins and ends": {
        "SSHConnection.connection_made": "0168c3dae068cb06",
        "SSHConnection.connection_lost": "a3020800a6f9042c",
        "SSHConnection._force_close": "ac2a8f1d7dfcb1bd",
        "SSHConnection._cleanup": "50a2de9fb6ac2d24",
        "SSHConnection._send_disconnect": "fa15f70f59f6630b",
        "SSHConnection.internal_error": "307338daaab50e5e",
    },
    "`_reset_keepalive_timer` and its like: the timer": {
        "SSHConnection._set_keepalive_timer": "9dd38003c25414ed",
        "SSHConnection._cancel_keepalive_timer": "f4d79747b94b98a0",
        "SSHConnection._reset_keepalive_timer": "6ff9d9b441ded775",
        "SSHConnection._keepalive_timer_callback": "bb40d5891f52a121",
        "SSHConnection._make_keepalive_request": "1c0f40df3cfd4a67",
        "SSHConnection.set_keepalive": "2566d337d7dbd180",
    },
    "`direct_tcpip`, `tcpip_forward`, `forwarded_tcpip`: the same fields, the same answers": {
        "SSHServerConnection._process_direct_tcpip_open": "2077d94a2bcbcd22",
        "SSHServerConnection._process_tcpip_forward_global_request": "d935390f4f5b3b4b",
        "SSHServerConnection._process_cancel_tcpip_forward_global_request": "d73d2917d96a6608",
        "SSHClientConnection._process_forwarded_tcpip_open": "1311c909f3bf67dc",
    },
    "`validate_public_key` and its like: who decides on a key": {
        "SSHServerConnection.validate_public_key": "1f8ddf7c6009e564",
        "SSHServerConnection._validate_client_public_key": "7acf20a4fa4b672e",
        "SSHConnection._validate_openssh_host_certificate": "9141b0094fe93840",
        "SSHServerConnection.reload_config": "47e6b5f4963f6602",
    },
    "certificates.py: how they are read": {
        "public_key.SSHOpenSSHCertificate": "6f10a7280b7e0f54",
        "public_key.SSHOpenSSHCertificateV01": "5eb0629d8227810f",
        "public_key.decode_ssh_certificate": "96ffb5c8507159f9",
    },
}
"""The text of what we rely on the inside of, by what in `internals.py` to read again with it."""

OVERRIDES: Final = {
    FastConnection: {
        "_cleanup", "_finish_recv_packet", "_keepalive_timer_callback", "_packet_handlers",
        "_reset_keepalive_timer", "_send", "_send_deferred_packets", "_send_kexinit",
        "internal_error", "send_packet", "set_keepalive",
    },
    FastServerConnection: {
        "_packet_handlers", "_process_cancel_tcpip_forward_global_request",
        "_process_direct_streamlocal_at_openssh_dot_com_open", "_process_direct_tcpip_open",
        "_process_session_open",
        "_process_streamlocal_forward_at_openssh_dot_com_global_request",
        "_process_tcpip_forward_global_request", "_process_tun_at_openssh_dot_com_open",
        "reload_config", "validate_public_key",
    },
    FastClientConnection: {
        "_process_forwarded_tcpip_open", "_validate_openssh_host_certificate",
    },
    Leg: set(),
    ServerLeg: {"remove_channel", "send_userauth_failure"},
    ClientLeg: set(),
}  # fmt: skip
"""What our classes mean to override. Every other name of theirs must be new: a subclass shares
one namespace with its base."""


def resolve(name: str) -> Any:
    """`SSHConnection.method` of asyncssh.connection, or `module.name`."""
    owner, _, rest = name.partition(".")
    modules = {
        "encryption": encryption,
        "kex": kex,
        "kex_dh": kex_dh,
        "packet": packet,
        "public_key": public_key,
    }
    return getattr(modules.get(owner) or getattr(connection, owner), rest, None)


def text_of(item: Any) -> str:
    return textwrap.dedent(inspect.getsource(item))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def stored(tree: ast.AST) -> set[str]:
    """The names that code puts in `self`."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and of_self(node))
    return {node.attr for node in nodes if isinstance(node.ctx, ast.Store)}


@cache
def names_of(item: type) -> frozenset[str]:
    """The names that a class puts in its namespace: in its body, and in `self` by its methods."""
    body = {name for name in vars(item) if not name.startswith("__")}
    return frozenset(body | stored(ast.parse(text_of(item))))


def names_of_asyncssh(*sides: type) -> frozenset[str]:
    return names_of(SSHConnection).union(*map(names_of, sides))


@pytest.mark.parametrize("name", sorted(STATE))
def test_a_private_attribute_is_there(name: str) -> None:
    assert name in names_of_asyncssh(*SIDES), (
        f"asyncssh {asyncssh.__version__} has no {name} any more: read its connection.py, and"
        " what relay/ssh/internals.py does with it"
    )


@pytest.mark.parametrize(
    ("name", "known", "reread"),
    [
        pytest.param(name, known, reread, id=name)
        for reread, group in HASHES.items()
        for name, known in group.items()
    ],
)
def test_what_we_rely_on_is_as_it_was_read(name: str, known: str, reread: str) -> None:
    item = resolve(name)
    assert item is not None, f"asyncssh {asyncssh.__version__} has no {name} any more ({reread})"
    found = hashlib.sha256(text_of(item).encode()).hexdigest()
    assert found.startswith(known), (
        f"asyncssh {asyncssh.__version__} changed {name}. Read the new one beside"
        f" relay/ssh/internals.py ({reread}), then write {found[: len(known)]} here."
        f" It is now:\n{text_of(item)}"
    )


def test_the_table_of_ciphers_is_ours() -> None:
    for name in algorithms.FAST_CIPHERS:
        made, cipher_name = encryption._enc_params[name.encode()]
        assert made is internals.GcmEncryption
        assert cipher_name.endswith("-gcm")


def test_every_private_name_in_use_is_listed() -> None:
    nodes = list(ast.walk(ast.parse(text_of(internals))))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {
        node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    private = {name for name in used & names_of_asyncssh(*SIDES) if is_private(name)}
    methods = {name.rpartition(".")[2] for group in HASHES.values() for name in group}
    assert private.difference(methods, *OVERRIDES.values()) == STATE


def inherited(module: str, name: str) -> set[str]:
    """The private names that a class of ours has from asyncssh."""
    item = getattr(importlib.import_module(module), name)
    bases = (base for base in item.__mro__ if base.__module__.startswith("asyncssh."))
    return {name for base in bases for name in names_of(base) if is_private(name)}


def uses(path: Path) -> Iterator[tuple[int, str]]:
    """The lines where a file uses a private name of asyncssh's: one that its class inherits, or
    that of a connection on another object."""
    module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    tree = ast.parse(path.read_bytes())
    within = {
        node: inherited(module, item.name)
        for item in tree.body
        if isinstance(item, ast.ClassDef)
        for node in ast.walk(item)
    }
    foreign = {name for name in names_of_asyncssh(*SIDES) if is_private(name)} - stored(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncssh"):
            names = {alias.name for alias in node.names if is_private(alias.name)}
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.Attribute):
            theirs = within.get(node, set()) if of_self(node) else foreign
            if node.attr in theirs:
                yield node.lineno, node.attr


def test_only_internals_touches_the_inside() -> None:
    others = set(ROOT.rglob("*.py")) - {Path(internals.__file__)}
    found = [f"{path}:{line}: {name}" for path in sorted(others) for line, name in uses(path)]
    assert found == [], "private names of asyncssh belong in relay/ssh/internals.py"


@pytest.mark.parametrize("ours", OVERRIDES, ids=lambda ours: ours.__name__)
def test_no_name_of_ours_is_asyncsshs_by_accident(ours: type) -> None:
    sides = [side for side in SIDES if issubclass(ours, side)] or SIDES
    shared = names_of(ours) & names_of_asyncssh(*sides)
    # What internals.py sets on purpose is in STATE; no other file may.
    on_purpose = STATE - OVERRIDES[ours] if ours.__module__ == internals.__name__ else set()
    assert shared - on_purpose == OVERRIDES[ours]
