"""From the settings of `relay-agent` and the files of ssh_config to its configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from relay.agent.config import AgentConfig, EndpointConfig
from relay.cli.client_config import client_config, forwards, read_config
from relay.cli.control_path import control_path
from relay.cli.start import Resolved
from relay.core.forward import Forward, parse_port
from relay.core.grants import parse_permitopen
from relay.core.health import Check, Checks, Rhythm, parse_check
from relay.core.services import SHARE_MARK, is_address, unmarked, validate_name
from relay.errors import LocalError, UsageError
from relay.settings.agent import SOCKS_EXIT, AgentSettings
from relay.sshconfig import keywords
from relay.sshconfig.client import DEFAULT_PORT
from relay.sshconfig.config import Config

if TYPE_CHECKING:
    from relay.cli.control import Command

PROGRAM: Final = "relay-agent"

SOCKS_PORT: Final = 1080
"""What IANA has registered for SOCKS: who says it means that."""


def agent_config(settings: AgentSettings) -> Resolved[AgentConfig]:
    """Raises UsageError or FileError."""
    config = read_config(settings)
    remote = forwards(config, keywords.REMOTE_FORWARD)
    if not remote and settings.endpoint is None:
        raise UsageError(
            "missing: -R, RemoteForward in ssh_config, or --endpoint: nothing to publish"
        )
    exits = [forward for forward in remote if forward.dynamic]
    remote = tuple(_meant(one, settings, config) for one in remote)
    if settings.socks_exit and not exits:
        raise UsageError(f"{SOCKS_EXIT} is for -R [bind:]port without a target, and there is none")
    agent = AgentConfig(
        client=client_config(config, settings.client.config_file),
        remote_forwards=remote,
        exit_on_forward_failure=config.get(keywords.EXIT_ON_FORWARD_FAILURE, True),
        permit_remote_open=config.get(keywords.PERMIT_REMOTE_OPEN),
        endpoint=_endpoint(settings),
        control=control_path(config, PROGRAM),
        checks=_checks(settings, remote),
        once=settings.once,
        busy_poll=settings.busy_poll,
        max_window=settings.max_window,
    )
    verbosity = config.get(keywords.LOG_LEVEL, 0)
    return Resolved(agent, verbosity, tuple(config.passed_over))


def agent_command(settings: AgentSettings, name: str, as_json: bool) -> Command:
    """`-O`. Raises UsageError or FileError."""
    from relay.cli.control import command

    config = read_config(settings)
    kinds = {"remote": keywords.REMOTE_FORWARD}

    def prepared(forward: Forward) -> Forward:
        return _meant(forward, settings, config)

    return command(PROGRAM, name, as_json, config, kinds, prepared)


def _meant(forward: Forward, settings: AgentSettings, config: Config) -> Forward:
    """What `-R` means together with the other settings."""
    if forward.dynamic and not (settings.socks_exit or config.all(keywords.PERMIT_REMOTE_OPEN)):
        raise UsageError(_no_target(forward))
    return _shared(forward) if settings.share else forward


def _checks(settings: AgentSettings, remote: tuple[Forward, ...]) -> Checks | None:
    """`--check`."""
    if not settings.check:
        return None
    checked = {unmarked(forward.listening) for forward in remote if not forward.dynamic}
    if not checked:
        raise UsageError("--check is for -R with a target, and there is none")
    each: Check | None = None
    named: dict[str, Check] = {}
    for text in settings.check:
        name, check = parse_check(text)
        if name in named or (not name and each):
            raise UsageError(f"--check {text}: there is another one for the same")
        if not name:
            each = check
        elif name in checked:
            named[name] = check
        else:
            raise UsageError(f"--check {text}: no -R publishes {name}, but {', '.join(checked)}")
    rhythm = Rhythm(settings.check_interval, settings.check_timeout, settings.check_count)
    return Checks(rhythm, each, named)


def _no_target(forward: Forward) -> str:
    """What is said of ssh's remote SOCKS where nobody has said that it is meant: a target that was
    forgotten must not open the whole network of this machine."""
    target = f"-R {forward}:localhost:{forward.port or 8000}"
    meant = f"{SOCKS_EXIT} as well" if forward.port == SOCKS_PORT else target
    return (
        f"-R {forward} has no target (did you mean {meant}?): whoever may open it could reach "
        f"every host and port that this machine reaches, by SOCKS. Where that is meant, say "
        f"{SOCKS_EXIT}, or with PermitRemoteOpen what may be reached"
    )


def _shared(forward: Forward) -> Forward:
    """Ask for a share of the service, by the mark before its name."""
    bind = unmarked(forward.bind or "")
    if is_address(bind):
        raise UsageError(f"--share: {forward} has no name; only a service with a name is shared")
    return replace(forward, bind=SHARE_MARK + bind)


def _endpoint(settings: AgentSettings) -> EndpointConfig | None:
    if settings.endpoint is None:
        if settings.allow or settings.allow_reverse:
            raise UsageError("--allow and --allow-reverse are for sessions: they need --endpoint")
        return None
    name, colon, text = settings.endpoint.partition(":")
    port = parse_port(text) if colon else DEFAULT_PORT
    if is_address(name) or not port:
        raise UsageError(
            f"--endpoint {settings.endpoint}: a name, not an address, with or without a port, "
            "such as gpu1 or gpu1:2200"
        )
    try:
        validate_name(name)
        allow = tuple(permit for text in settings.allow for permit in parse_permitopen(text))
    except LocalError as error:
        raise UsageError(str(error)) from None
    endpoint = EndpointConfig(
        name=name,
        port=port,
        state_dir=settings.state_dir,
        strict_modes=settings.strict_modes,
        reverse=settings.allow_reverse,
        resume_for=settings.resume_for,
    )
    return replace(endpoint, allow=allow) if allow else endpoint
