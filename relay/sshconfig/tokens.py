"""TOKENS and ENVIRONMENT VARIABLES of ssh_config(5): `%h`, `${HOME}`, `~`.

Which keyword takes which is the table in that page; the sets are named here, and whoever uses a
value says which one it is for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from relay.core.forward import is_harmless_host, is_harmless_user
from relay.errors import UsageError

HOST_TOKENS: Final = "h"
""" "Hostname accepts the tokens %% and %h"."""

PROXY_TOKENS: Final = "hnpr"
""" "ProxyCommand and ProxyJump accept the tokens %%, %h, %n, %p, and %r"."""

ALL_TOKENS: Final = "CdhijkLlnpru"
""" "CertificateFile, ControlPath, IdentityAgent, IdentityFile, KnownHostsCommand, LocalForward,
Match exec, RemoteCommand, RemoteForward, and UserKnownHostsFile accept the tokens %%, %C, %d, %h,
%i, %k, %L, %l, %n, %p, %r, and %u" (and %j, since OpenSSH 9.4)."""

_NAMES: Final = {"r": is_harmless_user} | dict.fromkeys("hnkj", is_harmless_host)
"""Tokens whose values come from a destination or a file, and what a shell must not find there."""

_TOKEN: Final = re.compile(r"%(.?)", re.DOTALL)
_VARIABLE: Final = re.compile(r"\$\{([^}]*)(\}?)")


@dataclass(frozen=True, slots=True)
class Local:
    """Who runs the program, and where."""

    user: str
    uid: int
    home: str
    hostname: str
    environ: Mapping[str, str] = field(default_factory=dict)


def tokens(
    local: Local, *, original: str, host: str, port: int, user: str, alias: str, jump: str
) -> dict[str, str]:
    """What each token stands for.

    Args:
        local: who runs the program.
        original: the host as it was typed; `host` the one that is dialled.
        alias: HostKeyAlias, or "".
        jump: the last host of ProxyJump, or "".
    """
    # "%C: Hash of %l%h%p%r%j"; OpenSSH before 9.4 left %j out.
    identity = f"{local.hostname}{host}{port}{user}{jump}"
    return {
        "C": hashlib.sha1(identity.encode(errors="surrogateescape")).hexdigest(),
        "d": local.home,
        "h": host,
        "i": str(local.uid),
        "j": jump,
        "k": alias or original,
        "L": local.hostname.partition(".")[0],
        "l": local.hostname,
        "n": original,
        "p": str(port),
        "r": user,
        "u": local.user,
    }


def expand_tokens(text: str, values: Mapping[str, str], allowed: str = ALL_TOKENS) -> str:
    """Replace each `%x` in the text, `%%` by `%`.

    Raises:
        UsageError: a token is not among the allowed ones.
    """

    def value(match: re.Match[str]) -> str:
        token = match[1]
        if token == "%":
            return "%"
        if not token or token not in allowed:
            known = ", ".join(f"%{one}" for one in sorted(allowed, key=str.lower))
            raise UsageError(f"%{token} in {text!r} is no token here: known are %%, {known}")
        return values[token]

    return _TOKEN.sub(value, text)


def expand_command(text: str, values: Mapping[str, str], allowed: str = ALL_TOKENS) -> str:
    """The same for a command that a shell will read: what tokens stand for must stay a name there.

    Raises:
        UsageError: a token is not among the allowed ones, or its value says something to a shell.
    """
    for token in _TOKEN.findall(text):
        harmless = _NAMES.get(token)
        if harmless and token in allowed and values[token] and not harmless(values[token]):
            problem = "which has characters that mean something to a shell"
            raise UsageError(f"%{token} would be {values[token]!r}, {problem}")
    return expand_tokens(text, values, allowed)


def expand_variables(text: str, environ: Mapping[str, str]) -> str:
    """Replace each `${NAME}` in the text.

    Raises:
        UsageError: there is no such variable.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if not match[2] or name not in environ:
            raise UsageError(f"${{{name}}} in {text!r}: there is no such environment variable")
        return environ[name]

    return _VARIABLE.sub(value, text)


def expand_path(text: str, values: Mapping[str, str], local: Local) -> str:
    """A file's name: `~` at its beginning is the user's home, then tokens and variables.

    Raises:
        UsageError: a token or a variable is unknown.
    """
    if text == "~" or text.startswith("~/"):
        text = local.home.replace("%", "%%") + text[1:]
    # In one pass over both, as ssh does: what a variable holds is not searched for tokens.
    parts = re.split(r"(\$\{[^}]*\}?)", text)
    return "".join(
        expand_variables(part, local.environ)
        if part.startswith("${")
        else expand_tokens(part, values)
        for part in parts
    )
