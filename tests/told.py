"""Events as a program has them: told to a log."""

from __future__ import annotations

from relay.events import Events
from relay.observe.lines import LogSink
from relay.observe.log import EventLog


def logged() -> Events:
    """Told to the log that `caplog` sees."""
    return Events(LogSink(EventLog("test")))
