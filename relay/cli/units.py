"""systemd unit files for the three programs: `--print-unit`, with the other flags on the line.

What is printed starts: flags that name files come back with full paths, private files are handed
over as credentials, state has its folder in /var/lib; what cannot start is not printed, and the
error says what to do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

from relay.agent.config import AgentConfig
from relay.cli import ssh_files
from relay.cli.parser import Flags
from relay.cli.service import Service, Specified, quoted
from relay.cli.start import Resolved
from relay.cli.state_dir import default_state_dir
from relay.core.forward import format_address
from relay.errors import FileError, UsageError
from relay.events import Events
from relay.observe.log import EventLog
from relay.opener.config import ConnectConfig
from relay.settings.agent import AgentSettings
from relay.settings.connect import ConnectSettings
from relay.settings.option import Setting, settings_of
from relay.settings.server import ServerSettings
from relay.sshconfig import keywords
from relay.sshconfig.client import DEFAULT_PORT, ClientConfig
from relay.sshconfig.keywords import KEYWORDS
from relay.sshconfig.proxy import KEYWORD as PROXY_URL
from relay.sshconfig.proxy import HttpProxy
from relay.sshconfig.words import Place, parse_line
from relay.trust.secret import read_password

Settings = TypeVar("Settings", bound=Any)

DESCRIPTIONS: Final = {
    "relay-server": "SSH relay",
    "relay-agent": "publishes services at an SSH relay",
    "relay-connect": "opens services that are published at an SSH relay",
}

SERVER: Final = """\
Type=notify
WatchdogSec=30
ExecReload=/bin/kill -HUP $MAINPID
TimeoutStopSec=30
LimitNOFILE=65536
"""

CLIENT: Final = """\
Type=exec
ExecReload=/bin/kill -HUP $MAINPID
"""

UNIT: Final = """\
# /etc/systemd/system/{program}.service, made by {program} --print-unit
[Unit]
Description={description}
Wants=network-online.target
After=network-online.target

[Service]
{service}ExecStart={command}
Restart=always
RestartSec=1

# An account of its own that nothing else has, and nothing to reach but the network.
DynamicUser=yes
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077

# {state}
{files}
[Install]
WantedBy=multi-user.target
"""

Flag = tuple[str, str | None]
"""A flag and its value; an operand is a flag without a name."""


def unit(
    program: str,
    flags: Flags,
    settings: Settings,
    resolve: Callable[[Settings], Resolved[Any]],
    log: EventLog,
) -> str:
    """The unit file that runs the program with these flags.

    Args:
        flags: as they were typed.
        settings: what they come to, with the file that they name.
        resolve: what settings mean.

    Raises:
        UsageError: a service could not start so.
    """
    service = Service(program)
    path = service.command()
    config = resolve(settings).config
    if isinstance(config, ServerSettings):
        words = _server(service, flags, config)
    else:
        _require_no_file_of_the_user(program, settings, resolve)
        words = _client(service, flags, settings, config, log)
    command = [path, *(word for flag in words for word in flag if word)]
    files = [
        f"StateDirectory={service.state}",
        "StateDirectoryMode=0700",
        f"Environment=HOME=%S/{service.state}",
        *service.lines,
    ]
    files += [
        "LoadCredential={}:{}".format(name, str(file).replace("%", "%%"))
        for name, file in service.credentials.items()
    ]
    return UNIT.format(
        program=program,
        description=DESCRIPTIONS[program],
        service=SERVER if isinstance(config, ServerSettings) else CLIENT,
        command=" ".join(quoted(word).replace("$", "$$") for word in command),
        state=f"/var/lib/{service.state} is its own; credentials are read by systemd, as root.",
        files="\n".join(files) + "\n",
    )


def _server(service: Service, flags: Flags, settings: ServerSettings) -> list[Flag]:
    service.keeps_state(settings.state_dir, default_state_dir(service.program))
    service.listens(port for _, port in settings.listen)
    config: Path | None = flags.value("config")
    first = [] if config is None else [("--config", str(service.reads(config)))]
    words = (_words(service, flags, one, one.of(settings)) for one in settings_of(ServerSettings))
    return [*first, *chain.from_iterable(words)]


def _words(service: Service, flags: Flags, setting: Setting, value: Any) -> list[Flag]:
    """A setting on the service's command line. The files that it names are found there, whether
    a flag names them or the file of `--config`, over which flags win."""
    option = setting.options[0]
    flag, files = option.flags[-1], value if option.many else [] if value is None else [value]
    match option.kind.in_unit if option.kind is not None else "as typed":
        case "hand over":
            return [(flag, service.hand_over(path)) for path in files]
        case "trust":
            return [(flag, str(service.trusts(path))) for path in files]
        case "read" if value is not None and value.lower() != "none":
            return [(flag, str(service.reads(Path(os.path.expanduser(value)))))]
        case "state":
            return []  # It has its own.
        case _:
            return flags.typed(setting)


FILES: Final = frozenset(
    {keyword.name for keyword in (
        keywords.IDENTITY_FILE, keywords.CERTIFICATE_FILE, keywords.USER_KNOWN_HOSTS_FILE,
        keywords.GLOBAL_KNOWN_HOSTS_FILE, keywords.PROXY_PASSWORD_FILE,
    )}
)  # fmt: skip
"""Keywords whose files are named anew."""


def _names_files(option: str) -> bool:
    line = parse_line(option, Place("-o"))
    keyword = KEYWORDS.get(line.keyword.lower()) if line is not None else None
    return keyword is not None and keyword.name in FILES


def _require_no_file_of_the_user(
    program: str, settings: Settings, resolve: Callable[[Settings], Resolved[Any]]
) -> None:
    if settings.client.config_file is not None:
        return
    system = Path(ssh_files.SYSTEM_FOLDER, "ssh_config")
    file = str(system) if system.exists() else "none"
    without = replace(settings, client=replace(settings.client, config_file=file))
    try:
        same = resolve(without).config == resolve(settings).config
    except UsageError:
        same = False
    if not same:
        raise UsageError(
            f"--print-unit: ~/.ssh/config has a say in this, and a service does not see it: "
            f"bring those lines into /etc/{program}/ssh_config, and add -F with that file"
        )


def _client(
    service: Service,
    flags: Flags,
    settings: AgentSettings | ConnectSettings,
    config: AgentConfig | ConnectConfig,
    log: EventLog,
) -> list[Flag]:
    client = config.client
    if client.proxy_jump or client.proxy_command:
        raise UsageError(
            "--print-unit: the keys and the known_hosts of a jump host, or of a ProxyCommand, have "
            "no place in such a unit: print it without, and add them to what is printed"
        )
    if isinstance(config, AgentConfig):
        if config.endpoint is not None:
            default = default_state_dir(service.program)
            service.keeps_state(config.endpoint.state_dir, default)
        service.listens(())
    else:
        if config.stdio_forward is not None:
            raise UsageError("--print-unit: a service has no standard input for -W: give -L")
        forwards = config.local_forwards + config.dynamic_forwards
        service.listens(one.port for one in forwards if not one.listen_path)
        service.makes_sockets(one.listen_path for one in forwards)
    words = list(_client_words(service, flags, settings))
    keys = _identities(service, settings, client, log)
    destination = settings.client.destination
    if not (settings.client.user or "@" in destination):
        keys.append(("-l", client.user))  # A service's own name is that of its account.
    first = [*keys, *_known_hosts(service, client, log), *_http_proxy(service, client.http_proxy)]
    return [*first, *words, ("", destination)]


def _client_words(
    service: Service, flags: Flags, settings: AgentSettings | ConnectSettings
) -> Iterator[Flag]:
    """All but the destination, which comes last, and the files that are named anew."""
    for one in settings_of(type(settings)):
        value = one.of(settings)
        if one.name == "options":
            yield from (("-o", text) for text in value if not _names_files(text))
        elif one.name not in ("destination", "identities"):
            yield from _words(service, flags, one, value)


def _identities(
    service: Service,
    settings: AgentSettings | ConnectSettings,
    client: ClientConfig,
    log: EventLog,
) -> list[Flag]:
    """The keys to log in with, and what lies beside each."""
    from relay.observe.lines import LogSink  # Imported late: they take their time.
    from relay.trust.identities import load_identities

    # -i %d/key means a credential already, which by custom is a file in /etc.
    already = {
        Path.home() / value[3:]: Path("/etc", service.program, value[3:])
        for value in settings.client.identities
        if value.startswith("%d/")
    }
    files = [already.get(path, path) for path in client.identity_files]
    optional = client.optional_identity_files
    files = [path for path in files if path not in optional or path.is_file()]
    if not files:
        raise UsageError("--print-unit: a service does not see ~/.ssh: give -i FILE")
    result: list[Flag] = []
    for path in files:
        result.append(("-i", service.hand_over(path)))
        certificate = path.with_name(f"{path.name}-cert.pub")
        if certificate.exists():
            service.hand_over(certificate)
    result += [
        ("-o", Specified(f"CertificateFile={service.hand_over(path)}"))
        for path in client.certificate_files
    ]
    needed = replace(
        client, identity_files=tuple(files), optional_identity_files=frozenset(), identity_agent=""
    )
    try:
        asyncio.run(load_identities(needed, Events(LogSink(log)))).close()
    except FileError as error:
        raise UsageError(f"--print-unit: {error}") from None
    return result


def _http_proxy(service: Service, proxy: HttpProxy | None) -> list[Flag]:
    """The proxy of the environment, which is not the service's, and the file with the password."""
    if proxy is None:
        return []
    result: list[Flag] = []
    if proxy.password:
        raise UsageError(
            f"--print-unit: {proxy.named_by} has a password, and everybody can read a unit: write "
            f"it to a file, and add -o ProxyURL={proxy.url} -o ProxyPasswordFile=FILE"
        )
    if proxy.named_by != PROXY_URL:
        result.append(("-o", f"{PROXY_URL}={proxy.url}"))
    if proxy.password_file is not None:
        try:
            read_password(proxy.password_file)
        except FileError as error:
            raise UsageError(f"--print-unit: {error}") from None
        result.append(
            ("-o", Specified(f"ProxyPasswordFile={service.hand_over(proxy.password_file)}"))
        )
    return result


def _known_hosts(service: Service, client: ClientConfig, log: EventLog) -> list[Flag]:
    """The files that tell which host key is the server's. A new key can be added to one only that
    is in the state folder."""
    from relay.observe.lines import LogSink
    from relay.trust.known_hosts import KnownHosts

    known = KnownHosts.load(client, Events(LogSink(log)))
    alias = client.host_key_alias
    keys = known.lookup(*((alias, DEFAULT_PORT) if alias else (client.host, client.port)))
    where = format_address(client.host, client.port)
    learns = client.strict_host_key_checking in ("accept-new", "no")
    if not (learns or keys.keys or keys.authorities):
        raise UsageError(
            f"--print-unit: the host key of {where} is not known in {known.file_for_new_keys}: "
            "connect once without --print-unit, or add -o StrictHostKeyChecking=accept-new"
        )
    files = client.user_known_hosts_files or (known.file_for_new_keys,)
    words: list[str] = ["~/.ssh/known_hosts"] if learns else []
    words += [service.hand_over(path) for path in files if path.is_file()]
    result: list[Flag] = [("-o", Specified(f"UserKnownHostsFile={' '.join(words) or 'none'}"))]
    if client.global_known_hosts_files != ClientConfig("", "").global_known_hosts_files:
        words = [service.hand_over(one) for one in client.global_known_hosts_files if one.is_file()]
        result.append(("-o", Specified(f"GlobalKnownHostsFile={' '.join(words) or 'none'}")))
    return result
