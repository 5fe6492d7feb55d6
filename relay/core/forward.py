"""Addresses as OpenSSH writes them on a command line: forwards, listeners, destinations.

The colon separates fields, so an address that has colons itself stands in brackets:
`[::1]:3000:[fe80::1]:80`. What is inside brackets is taken literally.

All parsers here raise `UsageError`, whose text shows what would be right, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from relay.core.patterns import parse_ip
from relay.errors import UsageError

MAX_PORT: Final = 65535
"""TCP's port field has 16 bits, though RFC 4254 sends a port as a uint32."""

MAX_HOST_LENGTH: Final = 255
"""Characters of a host name: RFC 1035 §2.3.4 allows no longer one, so it would resolve nowhere."""

MAX_PATH_LENGTH: Final = 107
"""Bytes of the path of a unix socket: `sun_path` of unix(7) has 108, the last of them NUL."""

_FIELD = re.compile(r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<plain>[^:\[\]]*))(?P<colon>:|\Z)")

# What OpenSSH 10.5's ssh_valid_hostname() and ssh_valid_ruser() (readconf.c) refuse: names may end
# up in a ProxyCommand or a Match exec, which a shell reads. A user name may hold "\", though not at
# its end, and "$" (DOMAIN\user, machine$).
_SHELL_CHARACTERS = frozenset("'`\";&<>|(){}")
_SHELL_CHARACTERS_OF_HOSTS = _SHELL_CHARACTERS | frozenset("$\\,")
_OPTION_BEHIND_BLANK = re.compile(r"\s-")


@dataclass(frozen=True, slots=True)
class Forward:
    """One `-L`, `-R` or `-D`: where to listen, and where each connection goes.

    `bind` is None if it was not given; `""` and `"*"` stay as they were given (both mean every
    address). For a remote forward it may be a name: then it publishes a named service. A path
    of a unix socket on either side takes the place of that side's host and port. Without a
    target each connection names its own, in the SOCKS protocol.
    """

    bind: str | None
    port: int
    host: str = ""
    hostport: int = 0
    listen_path: str = ""
    target_path: str = ""

    @property
    def dynamic(self) -> bool:
        """Whether each connection names its own target."""
        return not (self.host or self.target_path)

    @property
    def listening(self) -> str:
        """`port`, `bind:port` or the path, as it was given."""
        if self.listen_path or self.bind is None:
            return self.listen_path or str(self.port)
        return format_address(self.bind, self.port)

    @property
    def target(self) -> str:
        """`host:hostport` or the path, for a person to read."""
        if self.dynamic:
            return "SOCKS"
        return self.target_path or format_address(self.host, self.hostport)

    def __str__(self) -> str:
        """The forward as it would be written after `-L`, `-R` or `-D`."""
        listening = _quoted(self.listening, self.listen_path)
        target = "" if self.dynamic else f":{_quoted(self.target, self.target_path)}"
        return listening + target


def parse_forward(text: str, *, allow_zero: bool = False, dynamic: bool = False) -> Forward:
    """Parse `[bind:]port:host:hostport`, with the path of a unix socket (it has a `/`) in place
    of the first or of the last two; with `dynamic`, `[bind:]port` or a path.

    `allow_zero` permits 0 as the port to listen on. ssh(1) does so for `-R` alone: "If the port
    argument is 0, the listen port will be dynamically allocated on the server".

    Raises:
        UsageError: the text is no forward.
    """
    if dynamic:
        wanted = f"{text!r} is no forward: give [bind:]port, such as 1080 or localhost:1080"
    else:
        wanted = f"{text!r} is no forward: give [bind:]port:host:hostport, such as "
        wanted += "8000:localhost:8000 or [::1]:8000:[fe80::1]:80; or a unix socket's path"
    fields = split_fields(text)
    if fields is None:
        raise UsageError(wanted)
    _require_short(fields)
    # From the right: what the target does not take is where to listen.
    size = 0 if dynamic else 1 if _is_path(fields[-1]) else 2
    listen, target = fields[: len(fields) - size], fields[len(fields) - size :]
    at_path = len(listen) == 1 and _is_path(listen[0])
    bind = listen[0] if len(listen) == 2 else None
    host = target[0] if size == 2 and len(target) == 2 else ""
    if len(listen) not in (1, 2) or (bind and not _is_host(bind)):
        raise UsageError(wanted)
    if size == 2 and not _is_host(host):
        raise UsageError(wanted)
    return Forward(
        bind=bind,
        port=0 if at_path else _require_port(listen[-1], text, lowest=0 if allow_zero else 1),
        host=host,
        hostport=_require_port(target[1], text, lowest=1) if size == 2 else 0,
        listen_path=_require_path(listen[0]) if at_path else "",
        target_path=_require_path(target[0]) if size == 1 else "",
    )


def parse_listen(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT` of a listener into host and port; `*` or no host becomes `""`: all.

    Port 0 is permitted: the system picks one.

    Raises:
        UsageError: the text is no `HOST:PORT`.
    """
    fields = split_fields(text)
    if fields is None or len(fields) != 2 or (fields[0] and not _is_host(fields[0])):
        raise UsageError(
            f"{text!r} is no address to listen on: give HOST:PORT, such as "
            "0.0.0.0:2222, [::]:2222 or *:2222"
        )
    host, port = fields
    return "" if host == "*" else host, _require_port(port, text, lowest=0)


def parse_destination(text: str) -> tuple[str | None, str, int | None]:
    """Parse ssh's destination, `[user@]host` or `ssh://[user@]host[:port]`.

    Returns user, host and port; user and port are None if they were not given.

    Raises:
        UsageError: the text is no destination.
    """
    wanted = f"{text!r} is no destination: give [user@]host or ssh://[user@]host[:port]"
    is_uri = text[:6].lower() == "ssh://"
    # The last @ divides, as in ssh: a user name may hold one.
    user, at, place = (text[6:].removesuffix("/") if is_uri else text).rpartition("@")
    port = None
    if is_uri:
        # draft-ietf-secsh-scp-sftp-ssh-uri: parameters after ";" are ignored, as ssh does.
        user = unquote(user.partition(";")[0])
        fields = split_fields(place)
        if fields is None or len(fields) > 2:
            raise UsageError(wanted)
        host = fields[0]
        if len(fields) == 2:
            port = _require_port(fields[1], text, lowest=1)
    else:
        host = place[1:-1] if place[:1] == "[" and place[-1:] == "]" else place
        if ":" in host and parse_ip(host) is None:
            raise UsageError(f"{wanted} (a port goes after -p)")
    _require_short([host])
    if not _is_host(host) or not is_harmless_host(host) or (at and not user):
        raise UsageError(wanted)
    if at:
        require_harmless_user(user)
    return user if at else None, host, port


def require_harmless_user(text: str) -> None:
    """Raise UsageError for a remote user that `is_harmless_user` denies."""
    if not is_harmless_user(text):
        problem = "the remote user name contains characters that mean something to a shell"
        raise UsageError(f"{problem}: {text!r}")


def is_harmless_user(text: str) -> bool:
    """May a command that a shell reads, and that names this remote user, be run?"""
    return (
        text.isprintable()
        and not text.startswith("-")
        and not text.endswith("\\")
        and not _OPTION_BEHIND_BLANK.search(text)
        and not _SHELL_CHARACTERS & set(text)
    )


def is_harmless_host(text: str) -> bool:
    """The same of a host's name or address."""
    return (
        text.isprintable()
        and not text.startswith("-")
        and " " not in text
        and not _SHELL_CHARACTERS_OF_HOSTS & set(text)
    )


def format_address(host: str, port: int) -> str:
    """`localhost:80`, `[::1]:80`: what the parsers here would split into the two again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_fields(text: str) -> list[str] | None:
    """Split at the colons outside brackets and remove the brackets; None if they are wrong.

    A bracket may only open at the start of a field and close at its end.
    """
    fields: list[str] = []
    at = 0
    while match := _FIELD.match(text, at):
        literal, plain, colon = match.group("literal", "plain", "colon")
        fields.append(plain if literal is None else literal)
        if not colon:
            return fields
        at = match.end()
    return None


def parse_port(text: str) -> int | None:
    """A port number in decimal ASCII digits, 0 to 65535; None if the text is no such number."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT))):
        return None
    port = int(text)
    return port if port <= MAX_PORT else None


def _require_port(field: str, text: str, *, lowest: int) -> int:
    port = parse_port(field)
    if port is None or port < lowest:
        raise UsageError(f"{field!r} in {text!r} is no port: give {lowest} to {MAX_PORT}")
    return port


def _require_path(path: str) -> str:
    if len(path.encode(errors="surrogateescape")) > MAX_PATH_LENGTH or "\0" in path:
        limit = f"the path of a unix socket has at most {MAX_PATH_LENGTH} bytes, none of them NUL"
        raise UsageError(f"{path!r}: {limit}")
    return path


def _require_short(fields: list[str]) -> None:
    for field in fields:
        if len(field) > MAX_HOST_LENGTH and "/" not in field:
            longest = f"a name has at most {MAX_HOST_LENGTH}"
            raise UsageError(f"{field[:20]!r}… has {len(field)} characters: {longest}")


def _is_path(field: str) -> bool:
    # As ssh has it: no name of a host has a "/", and no path of a socket need be without one.
    return "/" in field


def _quoted(field: str, path: str) -> str:
    """A path with a colon in it stands in brackets; an address stands in its own already."""
    return f"[{field}]" if path and ":" in path else field


def _is_host(text: str) -> bool:
    # "/" would be the path of a Unix-domain socket to ssh, and is in no host's name.
    return _is_word(text) and "/" not in text and len(text) <= MAX_HOST_LENGTH


def _is_word(text: str) -> bool:
    # Of all white space, only the plain space counts as printable.
    return bool(text) and text.isprintable() and " " not in text
