"""known_hosts: which host keys a user trusts, in the file that ssh itself keeps (sshd(8)).

`KnownHosts` is the files, `HostKeyVerifier` the decision (RFC 4251 §4.1).

The file is read line by line. A line that cannot be read is reported with its number and
costs nothing but itself; asyncssh's own parser gives up the whole file for it.

As with ssh (CheckHostIP no, its default), a host is trusted by the name that the user gave. Its
address is looked up only for `@revoked` keys, where looking in more places errs on the safe side.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import asyncssh

from relay import system
from relay.core.text import IN_UTF_16, decode, is_utf_16
from relay.errors import HostKeyRefused
from relay.events import Events
from relay.sshconfig.client import DEFAULT_PORT, ClientConfig
from relay.trust.algorithms import HOST_KEY_NAMES, HOST_KEYS, certified
from relay.trust.ask import ask_to_trust
from relay.trust.hostkeys import fingerprint, make_private_directory

FILE_MODE: Final = 0o600
"""Of a known_hosts file that we create: it tells where its owner connects to."""

_SIGNATURES: Final = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"), "ssh-dss": ()}
"""Key types whose signature algorithms have names of their own (RFC 8332), or none that we take."""

_AUTHORITY: Final = "@cert-authority"
_REVOKED: Final = "@revoked"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key from a line that names the host; `where` is `path:line`."""

    key: asyncssh.SSHKey
    where: str


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """What the files say about one host."""

    keys: tuple[KnownKey, ...]
    authorities: tuple[KnownKey, ...]
    """Certificate authorities whose host certificates are trusted."""
    revoked: tuple[KnownKey, ...]
    portless: bool
    """`keys` are from lines for the host's port 22, since none names the port that was asked
    for. Like ssh we accept one of these, but another key is then an unknown, not a changed one:
    a different port may well be a different server."""


class KnownHosts:
    """The lines of the user's and the system's known_hosts files, as they were when loaded.

    Load it anew for each connection: the user may have edited the file since.
    """

    def __init__(
        self, user_files: tuple[Path, ...], global_files: tuple[Path, ...], events: Events
    ) -> None:
        self._events = events
        self._first_file = user_files[0]
        self._lines: list[_Line] = []
        for path in user_files + global_files:
            self._lines.extend(_read(path, events))

    @classmethod
    def load(cls, config: ClientConfig, events: Events) -> KnownHosts:
        """Read the files that `config` names; one that does not exist is empty."""
        user_files = config.user_known_hosts_files or (Path.home() / ".ssh" / "known_hosts",)
        return cls(user_files, config.global_known_hosts_files, events)

    @property
    def file_for_new_keys(self) -> Path:
        """Where `add` writes: the user's first file."""
        return self._first_file

    def lookup(self, host: str, port: int = DEFAULT_PORT, address: str = "") -> KnownKeys:
        """What is known of `host` at `port`; `address` is where that name has led, if anywhere."""
        name, bare = host_name(host, port), host_name(host, DEFAULT_PORT)
        keys = self._find("", name)
        authorities = self._find(_AUTHORITY, name, bare)
        portless = not keys and name != bare
        if portless:
            keys = self._find("", bare)
        names = {name, bare}
        if address:
            names |= {host_name(address, port), host_name(address, DEFAULT_PORT)}
        return KnownKeys(keys, authorities, self._find(_REVOKED, *sorted(names)), portless)

    def add(self, host: str, port: int, key: asyncssh.SSHKey, *, hashed: bool = False) -> None:
        """Remember `key` here and as a new last line of the user's first file. Raises OSError.

        The folder is made 0700 and the file 0600 where they are missing. `hashed` is
        HashKnownHosts: who reads the file does not learn where its owner connects to.
        """
        text = line_for(host, port, key, hashed=hashed)
        make_private_directory(self._first_file.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | system.OPEN
        fd = os.open(self._first_file, flags, FILE_MODE)
        with os.fdopen(fd, "r+b", buffering=0) as file:
            # Two programs that start at once learn the same key: one line is enough, and
            # theirs must not run into ours.
            system.lock(fd)
            data = file.read()
            if is_utf_16(data):
                raise OSError(errno.EILSEQ, IN_UTF_16)
            lines = data.split(b"\n")
            number = _line_with(lines, host_name(host, port), text.rpartition(" ")[2])
            if not number:
                # An editor may have left the last line without its end.
                mend = b"\n" if lines[-1] else b""
                file.write(mend + text.encode() + b"\n")
                number = len(lines) + len(mend)
        self._lines.append(_parse(text, f"{self._first_file}:{number}"))

    def _find(self, marker: str, *names: str) -> tuple[KnownKey, ...]:
        found = []
        for line in self._lines:
            if line.marker == marker and any(_matches(line.pattern, name) for name in names):
                try:
                    key = asyncssh.import_public_key(line.key)
                except asyncssh.KeyImportError as error:
                    problem = "{where}: passed over, its key cannot be read: {reason}"
                    self._events.note(
                        "warning", "known_hosts line", problem, where=line.where, reason=str(error)
                    )
                else:
                    found.append(KnownKey(key, line.where))
        return tuple(found)


def host_name(host: str, port: int) -> str:
    """How known_hosts writes a host: `b`, and `[b]:2222` for a port other than 22."""
    host = host.lower()
    return host if port == DEFAULT_PORT else f"[{host}]:{port}"


def line_for(host: str, port: int, key: asyncssh.SSHKey, *, hashed: bool = False) -> str:
    """The line, without its end, that makes `key` a known key of `host`."""
    data = base64.b64encode(key.public_data).decode("ascii")
    name = host_name(host, port)
    return f"{_hash(name) if hashed else name} {key.get_algorithm()} {data}"


def _hash(name: str) -> str:
    """`|1|salt|digest`, from which the name can only be guessed."""
    salt = os.urandom(hashlib.sha1().digest_size)
    digest = hmac.digest(salt, name.encode(errors="surrogateescape"), "sha1")
    return "|1|" + "|".join(base64.b64encode(part).decode("ascii") for part in (salt, digest))


def _line_with(lines: list[bytes], name: str, data: str) -> int:
    """The number of the line that has this key for this host; 0: none has."""
    for number, line in enumerate(lines, start=1):
        words = line.decode(errors="surrogateescape").split()
        if len(words) < 3 or words[2] != data:
            continue
        try:
            if _matches(words[0], name):
                return number
        except ValueError:
            pass
    return 0


class HostKeyVerifier:
    """Decides whether a server is the one that the user means, as StrictHostKeyChecking says.

    `host` is the name to look up (what the user typed, or HostKeyAlias), `port` the one that
    was dialled, `address` where the name led.
    """

    def __init__(self, config: ClientConfig, known_hosts: KnownHosts, events: Events) -> None:
        self._config = config
        self._known_hosts = known_hosts
        self._events = events

    def preferred_algorithms(self) -> list[str]:
        """`server_host_key_algorithms` to offer (RFC 4253 §7.1): those of the known keys first.

        A server with several keys then shows the one that is known. The others are offered
        too: a server that lost that key must be found out as changed, not as incompatible.
        HostKeyAlgorithms changes this list, or takes its place.
        """
        known = self._known_hosts.lookup(*self._filed(self._config.host, self._config.port))
        names: list[str] = []
        if known.authorities:
            names += certified(HOST_KEYS)
        for one in known.keys:
            key_type = one.key.get_algorithm()
            names += _SIGNATURES.get(key_type, (key_type,))
        names = list(dict.fromkeys([*names, *HOST_KEYS]))
        spec = self._config.host_key_algorithms
        return list(HOST_KEY_NAMES.assemble(spec, names)) if spec else names

    def _filed(self, host: str, port: int) -> tuple[str, int]:
        """Under which name and port the files have this host: HostKeyAlias "should be used
        instead of the real host name", and ssh leaves out the port then."""
        alias = self._config.host_key_alias
        return (alias, DEFAULT_PORT) if alias else (host, port)

    def revocations(
        self, host: str, address: str, port: int | None
    ) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
        """For asyncssh's `known_hosts` option: trust nothing, so that it asks us; know what is
        revoked, so that it refuses a certificate on a revoked key, which we do not get to see."""
        where = self._filed(host, port or DEFAULT_PORT)
        revoked = self._known_hosts.lookup(*where, address).revoked
        return [], [], [one.key for one in revoked]

    def verify(self, host: str, address: str, port: int, key: asyncssh.SSHKey) -> None:
        """Return if `key` is the server's; raise HostKeyRefused if it is not, or not known to be.

        With `accept-new` and `no` an unknown key is added to the user's first file. A changed
        key is refused whatever the setting: `no` is how people get used to being overheard.
        """
        host, port = self._filed(host, port)
        known = self._known_hosts.lookup(host, port, address)
        name = host_name(host, port)
        shown = f"{key.get_algorithm()} {fingerprint(key)}"
        if (revoked := _same(key, known.revoked)) is not None:
            raise HostKeyRefused(f"the host key of {name} is revoked: {shown} ({revoked.where})")
        if _same(key, known.keys) is not None:
            return
        if known.keys and not known.portless:
            raise self._changed(name, shown, key, known.keys)
        self._decide_unknown(host, port, key, shown)

    def verify_ca(self, host: str, address: str, port: int, ca_key: asyncssh.SSHKey) -> None:
        """The same for the signing key of a host certificate: only `@cert-authority` lines count.

        The certificate itself (its principals, its dates) is for asyncssh to check.
        """
        host, port = self._filed(host, port)
        known = self._known_hosts.lookup(host, port, address)
        name = host_name(host, port)
        shown = f"{ca_key.get_algorithm()} {fingerprint(ca_key)}"
        if (revoked := _same(ca_key, known.revoked)) is not None:
            where = revoked.where
            raise HostKeyRefused(f"the authority of {name} is revoked: {shown} ({where})")
        if _same(ca_key, known.authorities) is None:
            raise HostKeyRefused(
                f"the host certificate of {name} is signed by {shown}, "
                f"which no {_AUTHORITY} line of known_hosts trusts for this host"
            )

    def _changed(
        self, name: str, shown: str, key: asyncssh.SSHKey, known: tuple[KnownKey, ...]
    ) -> HostKeyRefused:
        # Of several known keys, the one that this key stands in for is of its own type.
        key_type = key.get_algorithm()
        old = next((one for one in known if one.key.get_algorithm() == key_type), known[0])
        warning = "WARNING: THE HOST KEY OF {name} HAS CHANGED"
        self._events.note("error", "host key changed", warning, name=name)
        return HostKeyRefused(
            f"the host key of {name} has changed: it shows {shown}, but {old.where} says "
            f"{old.key.get_algorithm()} {fingerprint(old.key)}. Either somebody is between you "
            f"and it, reading along, or its operator has made a new key. Ask the operator for "
            f"the fingerprint; only if it is the new one, delete that line and connect again"
        )

    def _decide_unknown(self, host: str, port: int, key: asyncssh.SSHKey, shown: str) -> None:
        name = host_name(host, port)
        checking = self._config.strict_host_key_checking
        if checking == "ask":
            answer = ask_to_trust(name, shown, fingerprint(key))
            if answer is False:
                raise HostKeyRefused(f"the host key of {name} was not accepted: {shown}")
            accepted = answer is True  # None: nobody is there to be asked
        else:
            accepted = checking in ("accept-new", "no")
        if not accepted:
            raise HostKeyRefused(
                f"the host key of {name} is not known: {shown}. Compare this fingerprint with "
                "the one that the server's operator reads out (relay-server prints it when it "
                "starts, relay-agent that of its --endpoint). If they are equal, connect once with "
                f"-o StrictHostKeyChecking=accept-new, or add this line to "
                f"{self._known_hosts.file_for_new_keys}: {line_for(host, port, key)}"
            )
        self._remember(host, port, key, shown)

    def _remember(self, host: str, port: int, key: asyncssh.SSHKey, shown: str) -> None:
        name, path = host_name(host, port), str(self._known_hosts.file_for_new_keys)
        try:
            self._known_hosts.add(host, port, key, hashed=self._config.hash_known_hosts)
        except OSError as error:
            # The user accepted the key: a file that cannot be written is no reason to stay away.
            problem = "{path}: cannot add the host key of {name}: {reason}"
            reason = error.strerror
            self._events.note(
                "warning", "host key not added", problem, path=path, name=name, reason=reason
            )
        else:
            text = "host key of {name} added to {path}: {key}"
            self._events.note("info", "host key added", text, name=name, path=path, key=shown)


def _same(key: asyncssh.SSHKey, known: tuple[KnownKey, ...]) -> KnownKey | None:
    return next((one for one in known if one.key.public_data == key.public_data), None)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line, not yet understood: most lines name other hosts, and keys take time to read."""

    where: str
    marker: str
    pattern: str
    key: str


def _read(path: Path, events: Events) -> Iterator[_Line]:
    try:
        text = decode(path.read_bytes())
    except FileNotFoundError:
        return
    except ValueError as error:
        problem = "{path}: not read: {reason}"
        events.note("warning", "known_hosts file", problem, path=str(path), reason=str(error))
        return
    except OSError as error:
        problem = "{path}: not read: {reason}"
        events.note("warning", "known_hosts file", problem, path=str(path), reason=error.strerror)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield _parse(line, f"{path}:{number}")
        except ValueError as error:
            problem = "{where}: passed over: {reason}"
            where = f"{path}:{number}"
            events.note("warning", "known_hosts line", problem, where=where, reason=str(error))


def _parse(line: str, where: str) -> _Line:
    """`[marker] patterns keytype base64 [comment]`. Raises ValueError."""
    words = line.split()
    marker = words.pop(0) if words[0].startswith("@") else ""
    if marker not in ("", _AUTHORITY, _REVOKED):
        raise ValueError(f"unknown marker {marker}")
    if len(words) < 3:
        raise ValueError("not of the form `host keytype base64-key`")
    pattern, key_type, data = words[:3]
    if pattern.startswith("|"):
        _hashed(pattern)
    return _Line(where, marker, pattern, f"{key_type} {data}")


def _matches(pattern: str, name: str) -> bool:
    """Whether a line's first field names `name`: patterns with `*` and `?`, `!` to except."""
    if pattern.startswith("|"):
        salt, digest = _hashed(pattern)
        return hmac.digest(salt, name.encode(errors="surrogateescape"), "sha1") == digest
    matched = False
    for one in pattern.lower().split(","):
        # Brackets are a part of names here (`[b]:2222`), but a set of characters to fnmatch.
        glob = one.removeprefix("!").replace("[", "[[]")
        if fnmatchcase(name, glob):
            if one.startswith("!"):
                return False
            matched = True
    return matched


def _hashed(pattern: str) -> tuple[bytes, bytes]:
    """Salt and digest of `|1|salt|digest` (HashKnownHosts). Raises ValueError."""
    try:
        _, version, salt, digest = pattern.split("|")
        if version != "1":
            raise ValueError(version)
        return base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except ValueError:
        raise ValueError(f"unknown form of a hashed host name: {pattern}") from None
