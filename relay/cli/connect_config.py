"""From the settings of `relay-connect` and the files of ssh_config to its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.cli.client_config import client_config, forwards, read_config
from relay.cli.control_path import control_path
from relay.cli.start import Resolved
from relay.errors import UsageError
from relay.opener.config import ConnectConfig
from relay.settings.connect import ConnectSettings
from relay.sshconfig import keywords
from relay.sshconfig.values import stdio_forward
from relay.sshconfig.words import Place

if TYPE_CHECKING:
    from relay.cli.control import Command

PROGRAM: Final = "relay-connect"


def connect_command(settings: ConnectSettings, name: str, as_json: bool) -> Command:
    """`-O`. Raises UsageError or FileError."""
    from relay.cli.control import command

    config = read_config(settings)
    kinds = {"local": keywords.LOCAL_FORWARD, "dynamic": keywords.DYNAMIC_FORWARD}
    return command(PROGRAM, name, as_json, config, kinds, lambda forward: forward)


def connect_config(settings: ConnectSettings) -> Resolved[ConnectConfig]:
    """Raises UsageError or FileError."""
    stdio = settings.stdio_forward
    target = stdio_forward(stdio) if stdio is not None else None
    config = read_config(settings)
    if target is not None:
        # ssh(1) on -W: "Implies -N, -T, ExitOnForwardFailure and ClearAllForwardings, though
        # these can be overridden".
        config.set(keywords.CLEAR_ALL_FORWARDINGS, True, Place("-W"))
    local = forwards(config, keywords.LOCAL_FORWARD)
    dynamic = forwards(config, keywords.DYNAMIC_FORWARD)
    if target is None and not local and not dynamic:
        raise UsageError("missing: -L, -D or -W, or LocalForward in ssh_config: nothing to open")
    connect = ConnectConfig(
        client=client_config(config, settings.client.config_file),
        local_forwards=local,
        gateway_ports=config.get(keywords.GATEWAY_PORTS, False),
        dynamic_forwards=dynamic,
        stdio_forward=(target.host, target.hostport) if target is not None else None,
        exit_on_forward_failure=config.get(keywords.EXIT_ON_FORWARD_FAILURE, True),
        stream_local_bind_mask=config.get(keywords.STREAM_LOCAL_BIND_MASK, 0o177),
        stream_local_bind_unlink=config.get(keywords.STREAM_LOCAL_BIND_UNLINK, False),
        once=settings.once,
        busy_poll=settings.busy_poll,
        max_window=settings.max_window,
        keep_trying=settings.keep_trying,
        wait=settings.wait,
        resume_for=settings.resume_for,
        control=control_path(config, PROGRAM),
    )
    verbosity = config.get(keywords.LOG_LEVEL, 0)
    return Resolved(connect, verbosity, tuple(config.passed_over))
