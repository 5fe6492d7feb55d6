"""One line per event, for a person or for a machine.

An event has a name that never changes (`leg up`), a sentence for people, and fields. The
human format prints the sentence; `--log-format json` prints one object per line with
the event's name and its fields.

    log = EventLog("relay-server")
    log.info("listening", "listening on {address}", address="127.0.0.1:2222")

prints one of

    2026-11-22T12:00:00Z listening on 127.0.0.1:2222
    {"time": "2026-11-22T12:00:00.123Z", "level": "info", "program": "relay-server",
     "event": "listening", "message": "listening on …", "address": "127.0.0.1:2222"}

(the second on one line). Key comments, reasons and names come from strangers. Whatever a
terminal could act on is shown escaped, so that one event is always one line and nothing in a
log can move a cursor, forge another event or turn the direction of the text.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from relay.errors import INTERNAL
from relay.events import Field, Level
from relay.observe.damper import Damper
from relay.observe.stderr import LineWriter

LogFormat = Literal["human", "json"]

QUIET: Final = -1
"""`verbosity` of `-q`: errors only."""
VERBOSITY_ASYNCSSH: Final = 2
"""`-v -v`: what the SSH library says about itself; once more, its debugging too."""

LONGEST_FIELD: Final = 4096
"""Characters: what a person can have a use for. A peer's packet holds a name of a quarter of a
megabyte."""

_LEVELS: Final[Mapping[Level, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# asyncssh logs each connection and each key exchange at "info". Our own events say the same
# in our words, so its logger is shut off above the highest level there is.
_SILENT: Final = logging.CRITICAL + 1

# The program that runs for months under nobody's eyes; the other two are used as ssh is, and
# ssh prints no time.
_WITH_TIME: Final = frozenset({"relay-server"})


def printable(text: str) -> str:
    """`text` with everything escaped that is not a printable character or a plain space.

    Control characters, line ends, the marks that change the direction of writing and bytes
    that were no UTF-8 become `\\x1b`, `\\n`, `\\u202e`, `\\udc80`.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class EventLog:
    """Where a program says what happened. Cheap when the level is switched off.

    `event` is the name for machines; `text` is a `str.format` template over `fields`, and
    `fields` are not called `time`, `level`, `program`, `event` or `message`. `per` names who
    can cause this as often as it likes: it is damped (`Damper`). A field that is very long is cut.
    """

    def __init__(self, program: str) -> None:
        self.program: Final = program
        self._logger: Final = logging.getLogger(f"relay.{program}")
        self._damper: Final = Damper()

    def enabled(self, level: Level) -> bool:
        """Would this be shown at all?"""
        return self._logger.isEnabledFor(_LEVELS[level])

    def debug(self, event: str, text: str, /, *, per: str = "", **fields: Field) -> None:
        """What helps to find a fault and is noise otherwise (`-v`)."""
        self.line("debug", event, text, per, fields)

    def info(self, event: str, text: str, /, *, per: str = "", **fields: Field) -> None:
        """What an operator wants to read: a leg came, a service was published."""
        self.line("info", event, text, per, fields)

    def warning(self, event: str, text: str, /, *, per: str = "", **fields: Field) -> None:
        """Something is wrong and the program goes on without it: a broken line in a file."""
        self.line("warning", event, text, per, fields)

    def error(self, event: str, text: str, /, *, per: str = "", **fields: Field) -> None:
        """What was asked for will not happen."""
        self.line("error", event, text, per, fields)

    def trace(self, error: BaseException) -> None:
        """Show where an exception came from, on lines of its own."""
        text = "".join(traceback.format_exception(error))
        for handler in self._logger.handlers:
            if isinstance(handler, _StderrHandler):
                handler.writer.write(text, always=True)

    def report(self) -> None:
        """Tell how much was not told, by peer and event. Once a minute this is done by the next
        event of a peer, if nobody calls it."""
        for who, event, count, sums in self._damper.report(time.monotonic()):
            added = "".join(f", {value} {name}" for name, value in sums.items())
            text = "{who}: {count} more of: {of}{added}"
            fields: dict[str, Field] = {"who": who, "count": count, "of": event}
            if self._logger.isEnabledFor(logging.INFO):
                message = text.format(**fields, added=added)
                extra = {"event": "more of the same", "fields": fields | sums}
                self._logger.log(logging.INFO, message, extra=extra)

    def tells(self, per: str, event: str, fields: Mapping[str, Field]) -> bool:
        """May this be a line, by how many there were? Else it counts; of `fields` only those are
        looked at that are added up then (`damper.SUMS_OF`)."""
        if self._damper.over(time.monotonic()):
            self.report()
        return self._damper.tells(per, event, fields)

    def line(
        self, level: Level, event: str, text: str, per: str, fields: Mapping[str, Field]
    ) -> None:
        """A line at this level."""
        number = _LEVELS[level]
        if self._logger.isEnabledFor(number):
            if per and not self.tells(per, event, fields):
                return
            fields = {name: _cut(value) for name, value in fields.items()}
            message = text.format(**fields)
            self._logger.log(number, message, extra={"event": event, "fields": fields})


def configure(program: str, format: LogFormat = "human", verbosity: int = 0) -> None:
    """Send the events of `program` to standard error; a second call replaces the first.

    `verbosity` counts the `-v`: 1 shows debug events, 2 also asyncssh's own log at "info",
    3 its debugging; `QUIET` shows errors only.
    """
    formatter = _JsonFormatter(program) if format == "json" else _HumanFormatter(program)
    handler = _StderrHandler(formatter)

    ours = logging.DEBUG if verbosity > 0 else logging.ERROR if verbosity < 0 else logging.INFO
    theirs = _SILENT
    if verbosity >= VERBOSITY_ASYNCSSH:
        theirs = logging.DEBUG if verbosity > VERBOSITY_ASYNCSSH else logging.INFO
    loggers = (
        (f"relay.{program}", ours),
        (INTERNAL, ours),
        ("asyncio", logging.WARNING),
        ("asyncssh", theirs),
    )
    for name, level in loggers:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)


def _cut(field: Field) -> Field:
    if isinstance(field, str) and len(field) > LONGEST_FIELD:
        return f"{field[:LONGEST_FIELD]}…"
    return field


class _StderrHandler(logging.Handler):
    """Standard error, which a thread writes. (`QueueListener` of the standard library has no bound
    in what waits, nor in how long it waits at the end.)"""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LineWriter(sys.stderr, self._dropped)

    def emit(self, record: logging.LogRecord) -> None:
        self.writer.write(f"{self.format(record)}\n")

    def flush(self) -> None:
        """Called when the program ends (`logging.shutdown`)."""
        self.writer.flush()

    def _dropped(self, count: int) -> str:
        """The line in the place of those that were dropped."""
        text = f"{count} lines of the log were dropped: they were not read"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None)
        record.event = "log lines dropped"
        record.fields = {"count": count}
        return f"{self.format(record)}\n"


class _HumanFormatter(logging.Formatter):
    """A sentence. Anything but plain information says what it is."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program
        self._with_time = program in _WITH_TIME

    def format(self, record: logging.LogRecord) -> str:
        line = _message(record)
        level = record.levelname.lower()
        if not _is_event(record):
            line = f"{record.name} {level}: {line}"
        elif record.levelno == logging.DEBUG or (self._with_time and record.levelno > logging.INFO):
            line = f"{level}: {line}"
        elif record.levelno > logging.INFO:
            line = f"{self._program}: {line}"
        return f"{_utc(record):%Y-%m-%dT%H:%M:%SZ} {line}" if self._with_time else line


class _JsonFormatter(logging.Formatter):
    """One object per line, in ASCII, so that no reader has to guess an encoding."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Field] = {
            "time": f"{_utc(record):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "program": self._program,
            "event": getattr(record, "event", record.name),
            "message": _message(record),
        }
        return json.dumps(line | getattr(record, "fields", {}))


def _is_event(record: logging.LogRecord) -> bool:
    """Whether an `EventLog` made this record; the others are asyncssh's."""
    return hasattr(record, "event")


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:  # asyncssh, at its debug level
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return printable(text)


def _utc(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
