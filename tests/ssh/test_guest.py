"""relay/ssh/guest.py and server_guest.py: what they rely on of asyncssh's inside.

Each private name, and each method whose inside is relied on, by the hash of its text. When asyncssh
changes, these tests say what to read again. (`tests/conformance` then says whether it still works.)
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import asyncssh
import pytest
from asyncssh import connection, encryption, kex
from asyncssh.connection import SSHClientConnection, SSHConnection, SSHServerConnection
from asyncssh.crypto import cipher

import relay
from relay.ssh import ciphers, guest, server_guest
from relay.ssh.guest import ClientGuest, Guest
from relay.ssh.server_guest import ServerGuest
from relay.wire import messages
from relay.wire.packet import TAG_SIZE, frame

ROOT: Final = Path(relay.__file__).parent

PRIVATE: Final = {
    "_choose_alg": "which key exchange is chosen",
    "_cipher": "the keys of AES-GCM",
    "_enc_algs": "B's offer, once it is known what the client has",
    "_finish_recv_packet": "when a packet that it works on in a task is done",
    "_force_close": "its end, at once",
    "_iv": "the keys of AES-GCM",
    "_kex": "the server's key exchange is ours",
    "_kexinit_sent": "as it says itself, when we have it send a KEXINIT",
    "_key": "the keys of AES-GCM",
    "_mac_algs": "B's offer",
    "_recv_encryption": "the peer's new keys",
    "_recv_macsize": "no tag comes to it",
    "_send_encryption": "our new keys",
    "_send_kexinit": "when a KEXINIT is sent",
    "_strict_kex": "whether packets are counted anew",
    "_validate_openssh_host_certificate": "the algorithm that a host's certificate is signed with",
}
"""Each private name of asyncssh, and what for."""

HASHES: Final = {
    "`line`, `packet`, `busy`: it parses what it is given, and is done or works on it in a task": {
        "SSHConnection._recv_data": "509a331c73f87839",
        "SSHConnection._recv_version": "25339e5283f72795",
        "SSHConnection._recv_pkthdr": "5ecb2508920beeef",
        "SSHConnection._recv_packet": "5049c9f32fdf6f06",
        "SSHConnection._finish_recv_packet": "33381f518236e4c8",
        "SSHConnection.create_task": "731a46e2f5b11f24",
        "SSHConnection._reap_task": "1309e49c790f1208",
    },
    "`writes`: one line first, then one packet at a time": {
        "SSHConnection.send_packet": "731d9ba1d3386e80",
        "SSHConnection._send": "6184392532185b24",
        "SSHConnection._send_version": "7fe1d4fb644781ad",
    },
    "`send_newkeys`, `_send_encryption`, `_recv_encryption`: when keys change, and to what": {
        "SSHConnection.send_newkeys": "3882f8ab9a2008bc",
        "SSHConnection._process_newkeys": "abae26bea52679a6",
        "SSHConnection.send_userauth_success": "9a49da5d9779ac7f",
        "SSHConnection._process_userauth_success": "2f11defd57c43d1c",
    },
    "`_send_kexinit`, `_offer`, `change_keys`, `_kex`: what is offered, and who does it": {
        "SSHConnection._send_kexinit": "bdfe2818c1efb2ba",
        "SSHConnection._process_kexinit": "b343c4721982dfd5",
        "SSHConnection._choose_alg": "7d41acfa04627bf6",
        "SSHServerConnection.choose_server_host_key": "c09743b47463bc26",
        "kex.Kex": "28761e3dc073d979",
    },
    "`begin`, `_force_close`, `internal_error`: how it begins and ends": {
        "SSHConnection.connection_made": "0168c3dae068cb06",
        "SSHConnection.connection_lost": "a3020800a6f9042c",
        "SSHConnection._force_close": "ac2a8f1d7dfcb1bd",
        "SSHConnection._cleanup": "50a2de9fb6ac2d24",
        "SSHConnection._process_disconnect": "823f2e4e417fd7fa",
        "SSHConnection.internal_error": "307338daaab50e5e",
    },
    "`validate_public_key` and its like: who decides on a key": {
        "SSHServerConnection.validate_public_key": "1f8ddf7c6009e564",
        "SSHConnection.send_userauth_failure": "00424f78b360a134",
        "SSHConnection._validate_openssh_host_certificate": "9141b0094fe93840",
        "SSHServerConnection.reload_config": "47e6b5f4963f6602",
    },
    "ciphers.py: what asyncssh's objects do with a packet": {
        "encryption.Encryption": "9c3073503ca53ca2",
        "encryption.BasicEncryption": "15eeacf63ec90d6f",
        "encryption.GCMEncryption": "d255f9e6b1fa73ee",
        "encryption.ChachaEncryption": "5902581e97e59135",
        "encryption.get_encryption_params": "94d714f8def4ae22",
        "cipher.GCMCipher": "e389d2b5bed8eb41",
    },
}
"""The text of what we rely on the inside of, by what of ours to read again with it."""

MODULES: Final[dict[str, Any]] = {"encryption": encryption, "kex": kex, "cipher": cipher}


def resolve(name: str) -> Any:
    """`SSHConnection.method` of asyncssh.connection, or `module.name`."""
    owner, _, rest = name.partition(".")
    return getattr(MODULES.get(owner) or getattr(connection, owner), rest, None)


def text_of(item: Any) -> str:
    return textwrap.dedent(inspect.getsource(item))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def names_of(*items: Any) -> set[str]:
    """The private names that classes put in their namespace: in a body, and in `self`."""
    nodes = [node for item in items for node in ast.walk(ast.parse(text_of(item)))]
    stored = {
        node.attr
        for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }  # fmt: skip
    body = {name for item in items for name in vars(item)}
    return {name for name in stored | body if is_private(name)}


THEIRS: Final = names_of(
    SSHConnection, SSHClientConnection, SSHServerConnection, encryption.GCMEncryption,
    cipher.GCMCipher, kex.Kex,
)  # fmt: skip


def used(path: Path) -> set[str]:
    """The private names of asyncssh's in a file: of an attribute, a method, or an import."""
    nodes = list(ast.walk(ast.parse(path.read_bytes())))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    imported = {
        alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asyncssh")
        for alias in node.names
    }
    return {name for name in (names & THEIRS) | imported if is_private(name)}


def test_every_private_name_in_use_is_listed_and_they_are_few() -> None:
    found = set().union(*(used(Path(part.__file__)) for part in (ciphers, guest, server_guest)))
    assert found == set(PRIVATE)
    assert len(PRIVATE) < 20


def test_a_private_name_is_there() -> None:
    assert set(PRIVATE) <= THEIRS, f"asyncssh {asyncssh.__version__}: read its connection.py"


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
        f"asyncssh {asyncssh.__version__} changed {name}. Read the new one beside guest.py"
        f" and server_guest.py of relay/ssh ({reread}), then write {found[: len(known)]} here."
        f" It is now:\n{text_of(item)}"
    )


MEANT: Final = {
    Guest: {
        "_finish_recv_packet", "_force_close", "_recv_encryption", "_recv_macsize",
        "_send_encryption",
    },
    ServerGuest: {"_choose_alg", "_force_close", "_kex", "_send_kexinit"},
    ClientGuest: {"_validate_openssh_host_certificate"},
}  # fmt: skip
"""What our classes mean to override, of what is private. A subclass shares one namespace with its
base: every other name of theirs must be new."""


@pytest.mark.parametrize("ours", MEANT, ids=lambda ours: ours.__name__)
def test_no_name_of_ours_is_asyncsshs_by_accident(ours: type) -> None:
    shared = names_of(ours) & THEIRS
    assert shared - {"_enc_algs", "_mac_algs", "_kexinit_sent"} == MEANT[ours]


def test_nothing_of_asyncsshs_is_changed_for_others() -> None:
    """Its tables are as they are when nobody has imported the relay."""
    code = (
        "import asyncssh, asyncssh.kex, asyncssh.encryption\n"
        "tables = lambda: (list(asyncssh.kex._kex_algs), dict(asyncssh.kex._kex_handlers),"
        " dict(asyncssh.encryption._enc_params), dict(vars(asyncssh.connection.SSHConnection)))\n"
        "before = tables()\n"
        "import relay.ssh.client\n"
        "from relay.ssh.server_options import server_options\n"
        "server_options([asyncssh.generate_private_key('ssh-ed25519')], ())\n"
        "assert tables() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("packets", [1, 2**32, 2**32 + 5])
def test_unimplemented_names_the_packet_by_the_muxs_count(packets: int) -> None:
    """asyncssh's own is another: it never sees what is the mux's. And it wraps (RFC 4253 §6.4)."""
    sent: list[bytes] = []
    host = SimpleNamespace(received_packets=packets, guest_sends=sent.append)
    speaks = SimpleNamespace(ended=False, host=host, _held=None, _version_sent=True)
    Guest.writes(speaks, bytes(frame(messages.unimplemented(77))[:-TAG_SIZE]))
    assert sent == [messages.unimplemented(packets - 1)]
