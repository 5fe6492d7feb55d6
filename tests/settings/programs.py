"""The settings of the three programs, and their command lines."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from relay.cli import agent, connect, server
from relay.settings.agent import AgentSettings
from relay.settings.connect import ConnectSettings
from relay.settings.option import Option, settings_of
from relay.settings.server import ServerSettings

PROGRAMS: Final[dict[str, tuple[type[Any], ModuleType]]] = {
    "relay-server": (ServerSettings, server),
    "relay-agent": (AgentSettings, agent),
    "relay-connect": (ConnectSettings, connect),
}


def options_of(program: str) -> list[Option]:
    """All options that are settings."""
    return [option for one in settings_of(PROGRAMS[program][0]) for option in one.options]
