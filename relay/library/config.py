"""From what `relay.connect` is given to the configuration of its parts, by way of ssh_config."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.agent.config import AgentConfig
from relay.cli.client_config import client_config, read_config
from relay.core.window import MOST
from relay.opener.config import ConnectConfig
from relay.settings.client import ClientSettings
from relay.settings.connect import ConnectSettings
from relay.sshconfig import keywords

Path = str | os.PathLike[str]

NO_POLLING: Final = 0
"""Microseconds: the loop is the caller's, or beside the caller's thread, which polling would keep
from its work."""


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One tunnel."""

    agent: AgentConfig
    connect: ConnectConfig


def link_config(
    destination: str,
    *,
    identity: Path | Sequence[Path],
    config: Path | None,
    port: int | None,
    via: str | Sequence[str],
    wait: float,
    keep_trying: bool,
    known_hosts: Path | Sequence[Path],
    host_keys: str | None,
    options: Mapping[str, str],
) -> LinkConfig:
    """The arguments are those of `relay.connect`. Raises UsageError, FileError."""
    given = [f"{name}={value}" for name, value in options.items()]
    files = " ".join(_quoted(os.fspath(path)) for path in _several(known_hosts))
    if files:
        given.append(f"UserKnownHostsFile={files}")
    if host_keys:
        given.append(f"StrictHostKeyChecking={host_keys}")
    # There may be a terminal, but it is not ours to ask at.
    given.append("BatchMode=yes")
    jump = via if isinstance(via, str) else ",".join(via)
    settings = ConnectSettings(
        client=ClientSettings(
            destination=destination,
            port=() if port is None else (str(port),),
            identities=tuple(os.path.expanduser(path) for path in _several(identity)),
            jump=(jump,) if jump else (),
            config_file=None if config is None else os.fspath(config),
            options=tuple(given),
        )
    )
    read = read_config(settings)
    client = client_config(read, settings.client.config_file)
    agent = AgentConfig(
        client=client,
        remote_forwards=(),
        exit_on_forward_failure=False,
        once=False,
        busy_poll=NO_POLLING,
        max_window=MOST,
        permit_remote_open=read.get(keywords.PERMIT_REMOTE_OPEN),
        endpoint=None,
        control=None,
        checks=None,
    )
    connect = ConnectConfig(
        client=client,
        local_forwards=(),
        gateway_ports=read.get(keywords.GATEWAY_PORTS, False),
        dynamic_forwards=(),
        stdio_forward=None,
        exit_on_forward_failure=True,
        stream_local_bind_mask=read.get(keywords.STREAM_LOCAL_BIND_MASK, 0o177),
        stream_local_bind_unlink=read.get(keywords.STREAM_LOCAL_BIND_UNLINK, False),
        once=False,
        busy_poll=NO_POLLING,
        max_window=MOST,
        keep_trying=keep_trying,
        wait=wait,
        # Its legs are the link's own, which knows of none that is held.
        resume_for=0,
        control=None,
    )
    return LinkConfig(agent, connect)


def _several(paths: Path | Sequence[Path]) -> Sequence[Path]:
    return (paths,) if isinstance(paths, str | os.PathLike) else paths


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
