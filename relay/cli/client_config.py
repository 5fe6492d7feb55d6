"""From the flags and files of ssh_config(5) to the configuration of a leg."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from relay.cli.ssh_files import load, real_name
from relay.core.forward import Forward, parse_destination
from relay.errors import UsageError
from relay.observe.log import QUIET
from relay.settings.agent import AgentSettings
from relay.settings.connect import ConnectSettings
from relay.settings.option import Option, settings_of
from relay.sshconfig import keywords, values
from relay.sshconfig.client import (
    SERVER_ALIVE_COUNT_MAX,
    SERVER_ALIVE_INTERVAL,
    ClientConfig,
    StrictHostKeyChecking,
)
from relay.sshconfig.config import Config
from relay.sshconfig.keywords import KEYWORDS, Keyword
from relay.sshconfig.proxy import HttpProxy, UnknownScheme, of_environment
from relay.sshconfig.tokens import (
    PROXY_TOKENS,
    expand_command,
    expand_path,
    expand_tokens,
    expand_variables,
)
from relay.sshconfig.values import Hop
from relay.sshconfig.words import Line, Place
from relay.trust.algorithms import CIPHER_NAMES, HOST_KEY_NAMES, KEX_NAMES, MAC_NAMES

T = TypeVar("T")

MAX_HOPS: Final = 16
"""Jump hosts of jump hosts; one that leads to itself must end."""

_FORWARDS: Final[dict[Keyword[object], Callable[[str], Forward]]] = {
    keywords.LOCAL_FORWARD: values.forward_of_local,
    keywords.REMOTE_FORWARD: values.forward_of_remote,
    keywords.DYNAMIC_FORWARD: values.forward_of_dynamic,
}


def read_config(settings: AgentSettings | ConnectSettings) -> Config:
    """All that ssh_config says for the destination. Raises UsageError or FileError.

    "command-line options; user's configuration file; system-wide configuration file": flags go
    before `-o`, `-o` before the destination, and that before the files.
    """
    client, log = settings.client, settings.log
    user, host, port = parse_destination(client.destination)
    place = Place(client.destination)

    def flags(config: Config) -> None:
        for one in settings_of(type(settings)):
            for option in one.options:
                _set_flag(config, option, one.of(settings))
        if log.quiet or log.verbose:
            config.set(keywords.LOG_LEVEL, QUIET if log.quiet else log.verbose, place)
        for text in client.options:
            config.option(text)
        if user is not None:
            config.set(keywords.USER, user, place)
        if port is not None:
            config.set(keywords.PORT, port, place)

    return load(host, client.config_file, flags)


def _set_flag(config: Config, option: Option, value: Any) -> None:
    """What a flag says that stands for a keyword: texts as that keyword's, or its one value."""
    if not option.keyword:
        return
    keyword, place = KEYWORDS[option.keyword.lower()], Place(option.flags[-1])
    if option.kind is None:
        if value == option.const:
            config.set(keyword, value, place)
        return
    for text in value:
        config.set(keyword, _parsed(keyword, text, place), place)


def _parsed(keyword: Keyword[object], text: str, place: Place) -> object:
    try:
        if forward := _FORWARDS.get(keyword):
            return values.checked_forward(text, forward)
        return keyword.parse(Line(keyword.name, (text,), text, place))
    except UsageError as error:
        raise place.error(error) from None


def forwards(config: Config, keyword: Keyword[str]) -> tuple[Forward, ...]:
    """The forwards of one kind: variables and, in the paths of unix sockets, tokens expanded."""
    if config.get(keywords.CLEAR_ALL_FORWARDINGS, False):
        return ()
    tokens = config.tokens()
    result = []
    for text, place in config.all(keyword):
        try:
            forward = _FORWARDS[keyword](expand_variables(text, config.local.environ))
            forward = replace(
                forward,
                listen_path=expand_tokens(forward.listen_path, tokens),
                target_path=expand_tokens(forward.target_path, tokens),
            )
        except UsageError as error:
            raise place.error(error, keyword.name) from None
        result.append(forward)
    return tuple(result)


def client_config(config: Config, config_file: str | None = None, depth: int = 0) -> ClientConfig:
    """The leg that the settings describe.

    Args:
        config: the settings for its host.
        config_file: `-F`, which counts for jump hosts too.
        depth: how many jump hosts lead here.
    """
    if not config.user:
        raise UsageError("nobody knows your user name here: give user@host")
    tokens = config.tokens()

    def path(text: str) -> Path:
        return Path(expand_path(text, tokens, config.local))

    def paths(names: tuple[str, ...]) -> tuple[Path, ...]:
        # Not an empty tuple: that would be the default files.
        return tuple(map(path, [os.devnull] if names[0].lower() == "none" else names))

    identities = _identities(config, path)
    checking: StrictHostKeyChecking = config.get(keywords.STRICT_HOST_KEY_CHECKING, "ask")
    batch_mode = config.get(keywords.BATCH_MODE, False)
    if checking == "ask" and batch_mode:
        checking = "yes"  # "user interaction such as […] host key confirmation […] disabled"
    rekey_bytes, rekey_seconds = config.get(keywords.REKEY_LIMIT, (0, 0))
    timeout = config.get(keywords.CONNECT_TIMEOUT)
    alive = config.get(keywords.SERVER_ALIVE_INTERVAL, SERVER_ALIVE_INTERVAL)
    client = ClientConfig(
        host=config.host,
        user=config.user,
        port=config.port,
        identity_files=tuple(identities),
        optional_identity_files=frozenset(
            file for file, required in identities.items() if not required
        ),
        identities_only=config.get(keywords.IDENTITIES_ONLY, False),
        identity_agent=config.explain(
            keywords.IDENTITY_AGENT, lambda text: _agent(config, text, path), None
        ),
        certificate_files=tuple(
            _at(place, keywords.CERTIFICATE_FILE, path, text)
            for text, place in config.all(keywords.CERTIFICATE_FILE)
        ),
        user_known_hosts_files=config.explain(keywords.USER_KNOWN_HOSTS_FILE, paths, ()),
        strict_host_key_checking=checking,
        batch_mode=batch_mode,
        host_key_alias=config.get(keywords.HOST_KEY_ALIAS, "").lower(),
        hash_known_hosts=config.get(keywords.HASH_KNOWN_HOSTS, False),
        ciphers=config.explain(keywords.CIPHERS, CIPHER_NAMES.assemble, ()),
        kex_algorithms=config.explain(keywords.KEX_ALGORITHMS, KEX_NAMES.assemble, ()),
        mac_algorithms=config.explain(keywords.MACS, MAC_NAMES.assemble, ()),
        host_key_algorithms=config.explain(keywords.HOST_KEY_ALGORITHMS, _checked_host_keys, ""),
        rekey_limit=rekey_bytes,
        rekey_seconds=rekey_seconds,
        proxy_jump=_hops(config, config_file, depth),
        proxy_command=config.explain(
            keywords.PROXY_COMMAND, lambda text: _command(text, tokens), ""
        ),
        http_proxy=_http_proxy(config, path),
        connect_timeout=float(timeout) if timeout else None,
        address_family=config.get(keywords.ADDRESS_FAMILY, "any"),
        bind_address=config.get(keywords.BIND_ADDRESS, ""),
        tcp_keepalive=config.get(keywords.TCP_KEEP_ALIVE, True),
        server_alive_interval=alive or 0,
        server_alive_count_max=config.get(keywords.SERVER_ALIVE_COUNT_MAX, SERVER_ALIVE_COUNT_MAX),
    )
    files = config.explain(keywords.GLOBAL_KNOWN_HOSTS_FILE, paths, client.global_known_hosts_files)
    return replace(client, global_known_hosts_files=files)


def _at(place: Place, keyword: Keyword[str], use: Callable[[str], T], text: str) -> T:
    try:
        return use(text)
    except UsageError as error:
        raise place.error(error, keyword.name) from None


def _identities(config: Config, path: Callable[[str], Path]) -> dict[Path, bool]:
    """The IdentityFiles, and whether each must be there: ssh is silent about those of files."""
    found: dict[Path, bool] = {}
    for text, place in config.all(keywords.IDENTITY_FILE):
        # Not nothing: that would be the default files.
        name = os.devnull if text.lower() == "none" else text
        file = _at(place, keywords.IDENTITY_FILE, path, name)
        found[file] = found.get(file, False) or place.name == "-i"
    return found


def _agent(config: Config, text: str, path: Callable[[str], Path]) -> str | None:
    """ "If the string SSH_AUTH_SOCK is specified, the location of the socket will be read from
    the SSH_AUTH_SOCK environment variable. Otherwise if the specified value begins with a `$`
    character, then it will be treated as an environment variable"."""
    if text.lower() == "none":
        return ""
    if text == "SSH_AUTH_SOCK":
        return None
    if text.startswith("$") and not text.startswith("${"):
        return config.local.environ.get(text[1:], "")
    return str(path(text))


def _command(text: str, tokens: dict[str, str]) -> str:
    return "" if text.lower() == "none" else expand_command(text, tokens, PROXY_TOKENS)


def _http_proxy(config: Config, path: Callable[[str], Path]) -> HttpProxy | None:
    """The proxy by which the host is reached, if by neither of ProxyCommand and ProxyJump: that of
    ProxyURL, else the environment's."""
    if config.get(keywords.PROXY_COMMAND, "none").lower() != "none":
        return None
    if config.get(keywords.PROXY_JUMP):
        return None
    given = config.get(keywords.PROXY_URL)
    proxy = _of_environment(config) if given is None else next(iter(given), None)
    if proxy is None:
        return None
    file = config.explain(keywords.PROXY_PASSWORD_FILE, path, None)
    if file is not None and not proxy.user:
        raise UsageError(f"ProxyPasswordFile is given, and {proxy.named_by} names no user: {USER}")
    if given and proxy.user and file is None:
        raise UsageError(
            "ProxyURL names a user: name a file with the password by -o ProxyPasswordFile=FILE"
        )
    return proxy if file is None else replace(proxy, password="", password_file=file)


USER: Final = "give http://user@proxy:3128"


def _of_environment(config: Config) -> HttpProxy | None:
    try:
        return of_environment(config.local.environ, real_name(config.host))
    except UnknownScheme as error:
        # What other programs are to use was no word to us.
        config.passed_over.append(f"{error}; connecting without one")
        return None


def _checked_host_keys(spec: str) -> str:
    HOST_KEY_NAMES.assemble(spec)
    return spec


def _hops(config: Config, config_file: str | None, depth: int) -> tuple[ClientConfig, ...]:
    """The jump hosts in the order in which they are passed.

    "the configuration for the destination host […] is not generally applied to jump hosts.
    ~/.ssh/config should be used if specific configuration is required for jump hosts." Each is
    reached through the one before it, so only the first one's own way to it counts.
    """
    if depth > MAX_HOPS:
        raise UsageError(f"ProxyJump of {config.original} leads over more than {MAX_HOPS} hosts")
    result: list[ClientConfig] = []
    for hop in config.get(keywords.PROXY_JUMP, ()):
        inner = _hop_config(config, hop, config_file, first=not result)
        if (inner.host, inner.port, inner.user) == (config.host, config.port, config.user):
            raise UsageError(f"ProxyJump of {config.original} leads over itself")
        client = client_config(inner, config_file, depth + 1)
        result += [*client.proxy_jump, replace(client, proxy_jump=())]
    return tuple(result)


def _hop_config(config: Config, hop: Hop, config_file: str | None, *, first: bool) -> Config:
    tokens = config.tokens()
    place = Place("ProxyJump")

    def flags(inner: Config) -> None:
        if hop.user is not None:
            user = _at(place, keywords.USER, _expander(tokens), hop.user)
            inner.set(keywords.USER, user, place)
        if hop.port is not None:
            inner.set(keywords.PORT, hop.port, place)
        if not first:
            inner.set(keywords.PROXY_COMMAND, "none", place)
            inner.set(keywords.PROXY_URL, (), place)

    return load(_at(place, keywords.HOST_NAME, _expander(tokens), hop.host), config_file, flags)


def _expander(tokens: dict[str, str]) -> Callable[[str], str]:
    return lambda text: expand_tokens(text, tokens, PROXY_TOKENS)
