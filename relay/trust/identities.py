"""Who we are to B: the keys of files and of ssh-agent, in the order in which they are tried.

First the keys of `identity_files` as they are listed, each with its certificates before it and
each signed with by the agent if that holds it too; then, unless IdentitiesOnly, the agent's other
keys. (ssh tries all of the agent's keys before those of a file that the agent does not hold. A
server counts tries, so the key that was asked for goes first here.)
"""

from __future__ import annotations

import base64
import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import asyncssh

from relay.core.text import IN_UTF_16, is_utf_16
from relay.errors import FileError
from relay.events import Events
from relay.sshconfig.client import ClientConfig
from relay.trust.ask import ask_passphrase
from relay.trust.modes import TooOpen, check_private

DEFAULT_IDENTITIES: Final = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
"""In ~/.ssh, where no IdentityFile is given: ssh_config(5)."""

KeyPairs = list[asyncssh.SSHKeyPair]


@dataclass(slots=True)
class Identities:
    """Key pairs to try, and the agent that signs for some of them: close it at the end."""

    pairs: KeyPairs
    agent: asyncssh.SSHAgentClient | None
    sources: dict[bytes, str] = field(default_factory=dict)
    """Where each key is from, by its public half: a file, or the agent, for a person."""

    @property
    def need_a_person(self) -> bool:
        """May a signature wait for somebody who confirms it, or touches a security key?"""
        return self.agent is not None or any(b"sk-" in pair.algorithm for pair in self.pairs)

    def close(self) -> None:
        """No more signatures are needed."""
        if self.agent is not None:
            self.agent.close()


async def load_identities(config: ClientConfig, events: Events) -> Identities:
    """The keys that the configuration names.

    Raises:
        FileError: the file of a key that must be there cannot be used.
    """
    certificates = _load_certificates(config, events)
    agent, held = await _agent_keys(config, events)
    pairs: KeyPairs = []
    named: set[bytes] = set()
    sources: dict[bytes, str] = {}
    # Of the usual files, which nobody has named, only one that is all there is is worth a question.
    named_files = bool(config.identity_files)
    ask = named_files and not config.batch_mode
    locked: list[Path] = []
    for path, required in _files(config):
        public = _public_data(path)
        theirs = [pair for pair in held if key_data(pair) == public and public is not None]
        if public is not None:
            named.add(public)
        try:
            pairs += _certified(theirs, certificates) if theirs else _load(path, certificates, ask)
        except TooOpen as error:
            # As ssh does, say so loudly: its owner shall know even if another key does.
            if required:
                raise
            events.note("warning", "identity not used", "{reason}", reason=str(error))
        except Locked as error:
            locked.append(path)
            if required:
                raise
            events.note("debug", "identity not used", "{reason}", reason=str(error))
        except FileError as error:
            # Half a key is named so that the agent's half is used; it just is not there.
            if required and (public is None or agent is None):
                raise
            events.note("debug", "identity not used", "{reason}", reason=str(error))
        for pair in pairs:
            sources.setdefault(pair.key_public_data, str(path))
    if locked and not pairs and not held and not named_files and not config.batch_mode:
        pairs += _load(locked[0], certificates, ask=True)
        sources |= {pair.key_public_data: str(locked[0]) for pair in pairs}
    others = [pair for pair in held if key_data(pair) not in named]
    if not config.identities_only:
        pairs += _certified(others, certificates)
    for pair in others:
        sources[pair.key_public_data] = f"{pair.get_comment() or 'a key'} of ssh-agent"
    return Identities(pairs, agent, sources)


def files_to_look_in(config: ClientConfig) -> list[Path]:
    """Those that keys are looked for in."""
    return [path for path, _ in _files(config)]


def _files(config: ClientConfig) -> list[tuple[Path, bool]]:
    """The files to look in, and whether each must hold a key."""
    if config.identity_files:
        optional = config.optional_identity_files
        return [(path, path not in optional) for path in config.identity_files]
    return [(Path.home() / ".ssh" / name, False) for name in DEFAULT_IDENTITIES]


async def _agent_keys(
    config: ClientConfig, events: Events
) -> tuple[asyncssh.SSHAgentClient | None, KeyPairs]:
    path = config.identity_agent
    if path is None:
        path = os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        return None, []
    try:
        agent = await asyncssh.connect_agent(path)
        return agent, list(await agent.get_keys())
    except (OSError, ValueError, asyncssh.Error) as error:
        events.note(
            "debug", "no agent", "{path}: no agent answers: {reason}", path=path, reason=str(error)
        )
        return None, []


def _load(
    path: Path, certificates: Sequence[asyncssh.SSHCertificate], ask: bool = False
) -> KeyPairs:
    """The private key in a file, its certificates before it. Raises FileError."""
    try:
        _check_mode(path)
        # With the certificate that lies beside it, if one does.
        pairs = list(asyncssh.load_keypairs(str(path)))
    except (OSError, ValueError) as error:
        # asyncssh's errors about keys are ValueErrors.
        if isinstance(error, OSError):
            problem = error.strerror or str(error)
        elif "assphrase" in str(error):
            return _with_certificates(_unlock(path, ask), certificates)
        elif is_utf_16(path.read_bytes()):
            problem = IN_UTF_16
        elif path.suffix == ".pub":
            problem = "a public key: give the private one, without .pub"
        else:
            problem = str(error)
        raise FileError(path, problem) from None
    return _with_certificates(pairs, certificates)


def _with_certificates(
    pairs: KeyPairs, certificates: Sequence[asyncssh.SSHCertificate]
) -> KeyPairs:
    """What is in one file, and before it the key, which is the last, with each of these."""
    return _certified(pairs[-1:], certificates)[:-1] + pairs


PASSPHRASE_PROMPTS: Final = 3
"""NumberOfPasswordPrompts of ssh_config(5), by its default."""

_unlocked: dict[tuple[Path, bytes], KeyPairs] = {}
"""What a person has unlocked, by the file and what it holds: nobody is asked again at a reconnect.
The process's own, as its memory is."""


class Locked(FileError):
    """A key has a passphrase that nobody is there to tell."""


def _unlock(path: Path, ask: bool) -> KeyPairs:
    """The key with the passphrase that a person types. Raises FileError."""
    content = path, path.read_bytes()
    for _ in range(PASSPHRASE_PROMPTS if content not in _unlocked else 0):
        passphrase = ask_passphrase(path) if ask else None
        if passphrase is None:
            problem = "the key has a passphrase: add it to ssh-agent with ssh-add"
            raise Locked(path, f"{problem}, or start the program in a terminal")
        try:
            _unlocked[content] = list(asyncssh.load_keypairs(str(path), passphrase))
            break
        except ValueError:
            pass  # A wrong one.
    if content not in _unlocked:
        raise Locked(path, "that is not its passphrase")
    # Each login has its own: a signature's algorithm is chosen in it.
    return [copy.copy(pair) for pair in _unlocked[content]]


def _check_mode(path: Path) -> None:
    """A public key, by which the agent's half is meant, may be open. Raises TooOpen, OSError."""
    with open(path, "rb") as file:
        data = file.read()
        # In PEM, OpenSSH's form among it, or in DER, whose first byte is a sequence's.
        if b"PRIVATE KEY" in data or data.startswith(b"0"):
            check_private(path, os.fstat(file.fileno()))


def _certified(
    pairs: Sequence[asyncssh.SSHKeyPair], certificates: Sequence[asyncssh.SSHCertificate]
) -> KeyPairs:
    """Each pair, and before it the same with each certificate that is for it."""
    result: KeyPairs = []
    for pair in pairs:
        for certificate in certificates:
            if not pair.has_cert and certificate.key.public_data == pair.key_public_data:
                with_certificate = copy.copy(pair)
                with_certificate.set_certificate(certificate)
                result.append(with_certificate)
        result.append(pair)
    return result


def _load_certificates(config: ClientConfig, events: Events) -> list[asyncssh.SSHCertificate]:
    certificates: list[asyncssh.SSHCertificate] = []
    for path in config.certificate_files:
        try:
            certificates.append(asyncssh.read_certificate(path))
        except (OSError, ValueError) as error:
            problem = "{path}: no certificate: {reason}"
            events.note(
                "warning", "certificate not used", problem, path=str(path), reason=str(error)
            )
    return certificates


def _public_data(path: Path) -> bytes | None:
    """The public half: beside the private one, or in its file (of which "you can also specify a
    public key file to use the corresponding private key that is loaded in ssh-agent")."""
    for candidate in (path.with_name(f"{path.name}.pub"), path):
        try:
            return asyncssh.read_public_key(candidate).public_data
        except (OSError, ValueError):
            continue
    return None


def key_data(pair: asyncssh.SSHKeyPair) -> bytes:
    """The public key of a pair, also of one that stands in the agent as a certificate."""
    if pair.has_cert:
        certificate = asyncssh.import_certificate(
            b" ".join((pair.algorithm, base64.b64encode(pair.public_data)))
        )
        return certificate.key.public_data
    return pair.public_data
