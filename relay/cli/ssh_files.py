"""Where ssh_config(5) meets the machine: its files, `Match exec`, the resolver, and who we are."""

from __future__ import annotations

import getpass
import glob
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from relay.core.patterns import parse_ip
from relay.core.text import decode
from relay.errors import FileError, UsageError
from relay.sshconfig import keywords
from relay.sshconfig.config import Config, Source
from relay.sshconfig.tokens import Local
from relay.sshconfig.words import Place
from relay.system import SHELL, group_of_one, shell_command, user_id

SYSTEM_FOLDER: Final = "/etc/ssh"

Resolve = Callable[[str], bool]
"""Whether a name leads to an address."""


def load(host: str, file: str | None, flags: Callable[[Config], None]) -> Config:
    """The configuration for a host: first the flags, then the files.

    Args:
        host: as it was typed.
        file: the only file to read (`-F`), `none` for no file; None for the usual two.
        flags: sets what the command line says.

    Raises:
        UsageError: a line or an option is wrong.
        FileError: the file of `-F` cannot be read, or others could have written in one.
    """
    local = local_facts()
    config = Config(host, local, Machine())
    flags(config)
    read = [(_read(path, checked), source) for path, checked, source in _sources(file, local)]
    for text, source in read:
        config.read(text, source)
    name = real_name(config.host)
    canonicalize = config.get(keywords.CANONICALIZE_HOSTNAME, "no")
    if canonicalize != "no":
        name = canonical(config, name, resolves)
    final = config.wants_final or canonicalize != "no"
    config.begin_final(name)
    if final:
        for text, source in read:
            config.read(text, source)
    return config


def real_name(host: str) -> str:
    """A host's name as ssh looks it up: in lower case, and an address in its usual form."""
    try:
        flags = socket.AI_NUMERICHOST
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError):
        return host.lower()
    return str(found[0][4][0])


def canonical(config: Config, host: str, resolves: Resolve) -> str:
    """The full name of a host by CanonicalizeHostname, which searches "the CanonicalDomains
    suffixes"; CNAMEs are not followed. Raises UsageError when there is none and must be one."""
    ways = (keywords.PROXY_COMMAND, keywords.PROXY_JUMP, keywords.PROXY_URL)
    proxied = any(config.get(way) for way in ways)
    # "for connections that do not use a ProxyCommand or ProxyJump", unless it says always.
    if proxied and config.get(keywords.CANONICALIZE_HOSTNAME) != "always":
        return host
    dots = host.count(".")
    if parse_ip(host) or host.endswith(".") or dots > config.get(keywords.CANONICALIZE_MAX_DOTS, 1):
        return host
    domains = config.get(keywords.CANONICAL_DOMAINS, ())
    for domain in () if domains == ("none",) else domains:
        name = f"{host}.{domain.strip('.')}"
        if resolves(name):
            return name
    if not config.get(keywords.CANONICALIZE_FALLBACK_LOCAL, True):
        raise UsageError(f"{host} is in none of the CanonicalDomains")
    return host


def resolves(name: str) -> bool:
    """Whether the resolver knows the name."""
    try:
        return bool(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def local_facts() -> Local:
    """Who runs the program; the user's name is empty where nobody knows it."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        user = ""
    return Local(
        user=user,
        uid=-1 if (uid := user_id()) is None else uid,
        # As for every other file that we name with "~"; ssh asks passwd(5) alone.
        home=os.path.expanduser("~"),
        hostname=socket.gethostname(),
        environ=os.environ,
    )


class Machine:
    """`relay.sshconfig.config.Outside` in earnest."""

    def find(self, pattern: str) -> list[str]:
        return sorted(glob.glob(os.path.expanduser(pattern), include_hidden=False))

    def read(self, path: str, place: Place) -> str:
        try:
            return _read(path, checked=True)
        except FileError as error:
            raise place.error(f"Include: {error}") from None

    def run(self, command: str) -> bool:
        # "executes the specified command under the user's shell"; its input is not for it, and
        # its output would be taken for ours (the stream of -W, say).
        try:
            words = shell_command(command, os.environ.get("SHELL") or SHELL)
        except OSError as error:
            raise UsageError(error.strerror) from None
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=2, check=False)
        return done.returncode == 0


def _sources(file: str | None, local: Local) -> list[tuple[str, bool, Source]]:
    """The files to read, whether others must not have been able to write in them."""
    folder = f"{local.home}/.ssh"
    if file is not None:
        if file.lower() == "none":
            return []
        path = os.path.expanduser(file)
        if not Path(path).exists():
            raise FileError(path, "no such configuration file")
        return [(path, False, Source(path, folder, user=True))]
    own, system = f"{folder}/config", f"{SYSTEM_FOLDER}/ssh_config"
    return [
        (own, True, Source(own, folder, user=True)),
        (system, False, Source(system, SYSTEM_FOLDER, user=False)),
    ]


def _read(path: str, checked: bool) -> str:
    """The text of a file, empty if there is none. Raises FileError."""
    try:
        with open(path, "rb") as file:
            if checked:
                _check_owner(path, os.fstat(file.fileno()))
            return decode(file.read())
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise FileError(path, f"cannot read it: {error.strerror}") from error
    except ValueError as error:
        raise FileError(path, str(error)) from None


def _check_owner(path: str, status: os.stat_result) -> None:
    """ "Because of the potential for abuse, this file must have strict permissions: read/write
    for the user, and not writable by others. It may be group-writable provided that the group in
    question contains only the user." (Debian's words; a ProxyCommand is somebody's to run.)"""
    uid = user_id()
    if uid is None:
        return
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if writable == stat.S_IWGRP and group_of_one(status.st_gid):
        writable = 0
    if status.st_uid not in (0, uid) or writable:
        problem = f"others could have written it: `chmod 600 {path}`, as its owner"
        raise FileError(path, problem)
