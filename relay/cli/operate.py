"""The control socket of a program, opened beside it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from relay.control.kinds import OF_AGENT, OF_CONNECT
from relay.control.server import operate
from relay.life.running import Operate
from relay.observe.log import EventLog
from relay.sshconfig.client import ControlPath

KINDS: Final = {"relay-agent": OF_AGENT, "relay-connect": OF_CONNECT}


def operators(program: str, control: ControlPath | None, log: EventLog) -> list[Operate[Any]]:
    """The one, if it is to have one."""
    if control is None:
        return []
    kinds, is_default = KINDS[program], control.is_default
    return [partial(operate, program, control.path, kinds, log, is_default=is_default)]
