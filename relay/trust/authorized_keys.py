"""OpenSSH's authorized_keys file: who may log in, and what each key may do.

sshd(8), AUTHORIZED_KEYS FILE FORMAT: "Each line of the file contains one key (empty lines and
lines starting with a `#` are ignored as comments). Public keys consist of the following
space-separated fields: options, keytype, base64-encoded key, comment. The options field is
optional."

A line that cannot be obeyed to the letter closes its key and no other: it becomes a `Problem`
instead of an `Entry`. Nothing here reads a file or the clock.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Final

from relay.core.grants import Grant
from relay.core.patterns import match_address_list
from relay.errors import LocalError
from relay.trust.certificates import Certificate
from relay.trust.key_options import OptionError, parse_options

# How a line without options begins: all of OpenSSH's key types have one of these prefixes and no
# option has; a number began the keys of SSH protocol 1.
_KEY_START = re.compile(r"ssh-|ecdsa-|sk-|[0-9]")

# sshkey_advance_past_options(): up to the first blank outside quotes.
_OPTIONS = re.compile(r'(?:\\"|"(?:\\"|[^"])*+"|[^ \t"])*+')

UNKNOWN_AUTHORITY: Final = "unknown certification authority"

_BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key that may log in.

    `line` counts from 1. `blob` is the public key as the wire has it (RFC 4253 §6.6). `source` is
    the list of `from=` and `expires` a UTC time; None where there is no such limit. `is_ca` marks
    the key of a certification authority: it signs certificates and logs in nobody itself.
    `no_touch` and `verify` are `no-touch-required` and `verify-required`.
    """

    line: int
    key_type: str
    blob: bytes
    comment: str
    grant: Grant
    source: str | None = None
    expires: datetime | None = None
    is_ca: bool = False
    principals: tuple[str, ...] = ()
    no_touch: bool = False
    verify: bool = False

    def refusal(
        self, *, address: str, now: datetime, certificate: Certificate | None = None
    ) -> str | None:
        """Why this entry does not admit who proved to have its key; None if it does."""
        if self.expires is not None and self.expires < now:
            return f"expired at {self.expires:%Y-%m-%d %H:%M:%SZ}"
        if self.source is not None and not match_address_list(address, self.source):
            return f"not from {address}"
        return None if certificate is None else certificate.names(self.principals)

    def certified(self, certificate: Certificate) -> Entry:
        """What the owner of a certificate of this authority may do.

        As in sshd, what permits must be in both, and what restricts need be in one.
        """
        grant = self.grant
        if not certificate.port_forwarding:
            grant = replace(grant, port_forwarding=False)
        ends = [end for end in (self.expires, certificate.valid_before) if end is not None]
        return replace(
            self,
            grant=grant,
            expires=min(ends, default=None),
            no_touch=self.no_touch and certificate.no_touch,
            verify=self.verify or certificate.verify,
        )

    def presence_refusal(self, *, touched: bool, verified: bool) -> str | None:
        """Why a signature of a security key does not do; None if it does.

        sshd asks for a touch unless `no-touch-required` says otherwise, and for the PIN or the
        like if `verify-required` does.
        """
        if not touched and not self.no_touch:
            return "the security key was not touched"
        if not verified and self.verify:
            return "the security key did not verify who its user is (verify-required)"
        return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a key may not log in, for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that could not be understood; its key stays out."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}: this key is closed"


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """The content of one authorized_keys file, in the file's order."""

    entries: tuple[Entry, ...] = ()
    problems: tuple[Problem, ...] = ()
    # The entries by their keys, so that a file of ten thousand is not gone through for each login.
    _of: dict[bytes, list[Entry]] = field(init=False, repr=False, compare=False)
    # What each line was understood as, for `parse`.
    _lines: dict[str, Entry | Problem] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        index: dict[bytes, list[Entry]] = {}
        for entry in self.entries:
            index.setdefault(entry.blob, []).append(entry)
        object.__setattr__(self, "_of", index)

    def trusts(self, authority: bytes) -> bool:
        """Is this public key a `cert-authority` of any line?"""
        return any(entry.is_ca for entry in self._of.get(authority, ()))

    def find(
        self, blob: bytes, *, address: str, now: datetime, certificate: Certificate | None = None
    ) -> Entry | Refusal:
        """The first entry that admits this key now, from this address (both as in sshd).

        A later line for the same key counts when an earlier one has expired or is for other
        addresses. With a `certificate` for the key it is the signer's line that counts, one with
        `cert-authority`; else only lines without it do.

        Args:
            blob: the public key as the wire has it.
            address: the peer's IP address as text.
            now: an aware time.
            certificate: what an authority says of the key, if the client came with that.
        """
        if certificate is not None and (reason := certificate.refusal(address=address, now=now)):
            return Refusal(reason)
        refused: list[str] = []
        for entry in self._of.get(blob if certificate is None else certificate.authority, ()):
            if entry.is_ca != (certificate is not None):
                continue
            refusal = entry.refusal(address=address, now=now, certificate=certificate)
            if refusal is None:
                return entry if certificate is None else entry.certified(certificate)
            refused.append(f"line {entry.line}: {refusal}")
        if not refused:
            return Refusal("unknown key" if certificate is None else UNKNOWN_AUTHORITY)
        return Refusal("; ".join(refused))


NO_KEYS: Final = AuthorizedKeys()


def parse(
    text: str, path: str, zone: tzinfo | None = None, before: AuthorizedKeys = NO_KEYS
) -> AuthorizedKeys:
    """Parse the text of an authorized_keys file. Any text will do: this raises nothing.

    Args:
        text: the file's content.
        path: its name, for the problems.
        zone: the zone of an `expiry-time` without Z; None is the system's.
        before: the same file as it was. Lines that it had are not parsed again: of ten thousand
            one has changed.
    """
    lines: dict[str, Entry | Problem] = {}
    entries: list[Entry] = []
    problems: list[Problem] = []
    # Not splitlines(): it knows line ends that sshd does not, inside comments for one.
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        one = before._lines.get(line)
        if one is None:
            try:
                one = _parse_line(line, number, zone)
            except (_BadKeyError, OptionError) as error:
                one = Problem(path, number, str(error))
        elif one.line != number:
            one = replace(one, line=number)
        lines[line] = one
        if isinstance(one, Entry):
            entries.append(one)
        else:
            problems.append(one)
    return AuthorizedKeys(tuple(entries), tuple(problems), lines)


def fingerprint(blob: bytes) -> str:
    """`SHA256:…` of a public key blob, as ssh-keygen -l shows it: base64 without padding."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii")
    return "SHA256:" + digest.rstrip("=")


class _BadKeyError(LocalError):
    """The line holds no key that can be used."""


def _parse_line(line: str, number: int, zone: tzinfo | None) -> Entry:
    options_text, key = "", line
    if not _KEY_START.match(line):
        match = _OPTIONS.match(line)
        end = match.end() if match else 0
        options_text, key = line[:end], line[end:].lstrip(" \t")
        if key.startswith('"'):
            raise _BadKeyError("a double quote is not closed")
    key_type, blob, comment = _parse_key(key)
    options = parse_options(options_text, zone)
    return Entry(
        line=number,
        key_type=key_type,
        blob=blob,
        comment=comment,
        grant=options.grant,
        source=options.source,
        expires=options.expires,
        is_ca=options.is_ca,
        principals=options.principals,
        no_touch=options.no_touch,
        verify=options.verify,
    )


def _parse_key(text: str) -> tuple[str, bytes, str]:
    """Key type, blob and comment of `keytype base64-key [comment]`."""
    key_type, encoded, comment, *_ = *_BLANKS.split(text, maxsplit=2), "", "", ""
    if key_type.isdigit():
        raise _BadKeyError("keys of SSH protocol 1 are not supported: make one with ssh-keygen")
    if key_type == "ssh-dss":
        raise _BadKeyError("DSA keys are not supported: make an ed25519 key with ssh-keygen")
    if "-cert-v0" in key_type:
        raise _BadKeyError(
            "this is a certificate: list the key of its CA, with the option cert-authority"
        )
    if not key_type or not encoded:
        raise _BadKeyError("no public key: a line is [options] keytype base64-key [comment]")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise _BadKeyError(f"no public key: what follows {key_type!r} is no base64") from None
    name, *parts = _strings(blob)
    # Latin-1 has a character for each byte: no name of a stranger's making can raise.
    if name.decode("latin-1") != key_type:
        raise _BadKeyError(f"the key itself says that it is no {key_type!r}")
    if not parts:
        raise _BadKeyError("the key is cut short")
    return key_type, blob, comment


def _strings(blob: bytes) -> Iterator[bytes]:
    """The strings (RFC 4251 §5) of a public key blob, at least one.

    Every type of public key is its name and some strings (an mpint is one too), without a byte
    left over: so a key that lost its end when it was pasted is found here, not at a login.
    """
    at = 0
    while at == 0 or at < len(blob):
        start = at + 4
        at = start + int.from_bytes(blob[at:start], "big")
        if start > len(blob) or at > len(blob):
            raise _BadKeyError("the key is cut short")
        yield blob[start:at]
