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


def operator(program: str, control: ControlPath | None, log: EventLog) -> Operate[Any] | None:
    """None: it is to have none."""
    if control is None:
        return None
    return partial(
        operate, program, control.path, KINDS[program], log, is_default=control.is_default
    )
