"""One event, one line, whatever a stranger wrote into a field."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from relay.observe import log as relay_log
from relay.observe.damper import LINES
from relay.observe.log import LONGEST_FIELD, QUIET, EventLog, configure, printable

HOSTILE = "a\x1b[2J\r\nleg up\u202e\x9b\udc80"


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    names = ("relay.relay-server", "relay.relay-agent", "asyncssh")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_the_server_says_when(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-server")
    EventLog("relay-server").info("listening", "listening on {address}", address="127.0.0.1:2222")
    EventLog("relay-server").warning("broken line", "{where}: broken", where="keys:3")
    first, second = capsys.readouterr().err.splitlines()
    time, _, sentence = first.partition(" ")
    assert sentence == "listening on 127.0.0.1:2222"
    assert len(time) == len("2026-11-22T12:00:00Z")
    assert time.endswith("Z")
    assert second.endswith("Z warning: keys:3: broken")


def test_the_agent_speaks_as_ssh_does(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-agent")
    events = EventLog("relay-agent")
    events.debug("hidden", "hidden")
    events.info("published", "{service} published", service="gpu1:8000")
    events.error("refused", "refused")
    assert capsys.readouterr().err == "gpu1:8000 published\nrelay-agent: refused\n"


def test_json_carries_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-agent", "json")
    EventLog("relay-agent").info("leg up", "{who}", who=HOSTILE, channels=3, rate=0.5, key=None)
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert line.isascii()
    assert line.isprintable()
    assert event["event"] == "leg up"
    assert event["level"] == "info"
    assert event["program"] == "relay-agent"
    assert (event["who"], event["channels"], event["rate"]) == (HOSTILE, 3, 0.5)
    assert event["key"] is None
    assert event["time"].endswith("Z")
    assert event["time"][-5] == "."


def test_a_hostile_field_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-server")
    EventLog("relay-server").info("leg up", "leg up: {comment}", comment=HOSTILE)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
    assert r"a\x1b[2J\r\nleg up\u202e\x9b\udc80" in err


def test_a_template_in_a_field_is_not_a_template(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-agent")
    EventLog("relay-agent").info("x", "{reason}", reason="{0} %s {secret}")
    assert capsys.readouterr().err == "{0} %s {secret}\n"


@pytest.mark.parametrize(
    ("verbosity", "ours", "theirs"),
    [
        (QUIET, logging.ERROR, False),
        (0, logging.INFO, False),
        (1, logging.DEBUG, False),
        (2, logging.DEBUG, logging.INFO),
        (3, logging.DEBUG, logging.DEBUG),
    ],
)
def test_verbosity(verbosity: int, ours: int, theirs: int) -> None:
    configure("relay-agent", verbosity=verbosity)
    assert logging.getLogger("relay.relay-agent").level == ours
    asyncssh = logging.getLogger("asyncssh")
    if theirs:
        assert asyncssh.level == theirs
    else:
        assert not asyncssh.isEnabledFor(logging.CRITICAL)


def test_asyncssh_says_whose_words_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-agent", verbosity=relay_log.VERBOSITY_ASYNCSSH)
    logging.getLogger("asyncssh").info("[conn=0] %s", "hello")
    assert capsys.readouterr().err == "asyncssh info: [conn=0] hello\n"


def test_printable_leaves_words_alone() -> None:
    assert printable("Müller's laptop 漢字") == "Müller's laptop 漢字"


def test_one_peer_does_not_fill_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-agent", "json")
    events = EventLog("relay-agent")
    for _ in range(LINES + 7):
        events.info("leg up", "{who} is up", per="one", who="one")
        events.info("leg up", "nobody may cause many of these")
    for number in range(2):
        events.info("leg up", "{who} is up", per=f"other {number}", who="other")
    events.report()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert sum(line.get("who") == "one" for line in lines) == LINES + 1
    assert len(lines) == LINES + LINES + 7 + 2 + 1
    assert lines[-1]["message"] == "one: 7 more of: leg up"
    assert lines[-1]["event"] == "more of the same"
    assert (lines[-1]["of"], lines[-1]["count"]) == ("leg up", 7)
    events.report()
    assert not capsys.readouterr().err


def test_a_field_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    configure("relay-agent")
    EventLog("relay-agent").info("x", "{name}: refused", name="x" * 1_000_000)
    assert capsys.readouterr().err == "x" * LONGEST_FIELD + "…: refused\n"
