"""What the log says of each event: for people, and for machines that have learned its words."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from relay.core.limits import STRANGER_LINES
from relay.events import Event, Events, LegName, Note, StreamClosed, client, server
from relay.events.client import (
    Closed,
    Connected,
    Disconnected,
    LocalStreamClosed,
    NotConnected,
    NotReady,
    Ready,
    Reconnected,
    ServiceDown,
    ServiceGivenUp,
    ServiceGranted,
    ServiceNotGranted,
    ServiceStreamClosed,
    ServiceUp,
    SocksRefused,
    StillTrying,
    StreamOpened,
    StreamWaits,
)
from relay.events.server import (
    Draining,
    KeyRefused,
    LegDown,
    LegUp,
    LimitHit,
    Listening,
    LoginFailed,
    PortStreamClosed,
    RequestRefused,
    RightsChanged,
    RightsLost,
    ServicePublished,
    ServiceRefused,
    ServiceTaken,
    ServiceWithdrawn,
    SessionStreamClosed,
    SettingChanged,
    SignatureRefused,
    SpliceClosed,
    SpliceOpened,
    StreamHeld,
    StreamRefused,
)
from relay.observe.lines import LINES, LogSink
from relay.observe.log import EventLog

ME = LegName(1, "SHA256:me", "", "192.0.2.1:5")
YOU = LegName(2, "SHA256:you", "laptop", "192.0.2.2:6")
WHO, LEG = "SHA256:me (no comment)", "SHA256:me (no comment) at 192.0.2.1:5"
YOUR_LEG = "SHA256:you (laptop) at 192.0.2.2:6"
NOBODY = LegName(3, "", "", "192.0.2.3:7")
OVER: Any = {"received": 1, "sent": 2, "refused": False, "reason": ""}
REFUSED: Any = {"received": 0, "sent": 0, "refused": True, "reason": "refused: no"}

SAID: list[tuple[Event, str, str, str, dict[str, Any]]] = [
    (
        LegUp(ME, "192.0.2.1", "u", "SSH-2.0-x", "aes", inner=False), "info", "leg up",
        f"leg up: {WHO} as u from 192.0.2.1:5, SSH-2.0-x, aes",
        {"who": WHO, "user": "u", "peer": "192.0.2.1:5", "client": "SSH-2.0-x", "cipher": "aes"},
    ),
    (
        LegUp(ME, "192.0.2.1", "u", "SSH-2.0-x", "aes", inner=True), "info", "session up",
        f"end to end session: {WHO} as u from 192.0.2.1:5, aes",
        {"who": WHO, "user": "u", "peer": "192.0.2.1:5", "cipher": "aes"},
    ),
    (
        LegDown(ME, "lost", inner=False), "info", "leg down",
        f"leg down: {WHO} from 192.0.2.1:5: lost",
        {"who": WHO, "peer": "192.0.2.1:5", "why": ": lost"},
    ),
    (
        LegDown(ME, "", inner=True), "info", "session down",
        f"end to end session over: {WHO} from 192.0.2.1:5",
        {"who": WHO, "peer": "192.0.2.1:5", "why": ""},
    ),
    (
        server.SessionHeld(ME, 3, 600.0), "info", "session held",
        f"held: 3 streams of {WHO}, for up to 10 min",
        {"who": WHO, "streams": 3, "held": "3 streams", "most": "10 min"},
    ),
    (
        server.SessionResumed(ME, 2.34), "info", "session resumed",
        f"again: {WHO}, after 2.3 s", {"who": WHO, "away": "2.3 s"},
    ),
    (
        client.SessionHeld(1, 600.0), "info", "session held", "held: 1 stream, for up to 10 min",
        {"streams": 1, "held": "1 stream", "most": "10 min"},
    ),
    (
        client.SessionResumed(2.34), "info", "session resumed", "again, after 2.3 s",
        {"away": "2.3 s"},
    ),
    (
        client.SessionLost(2, "it was held for too long"), "error", "session lost",
        "2 streams reset: it was held for too long",
        {"streams": 2, "held": "2 streams", "reason": "it was held for too long"},
    ),
    (
        LoginFailed(NOBODY, "192.0.2.3", "gone", inner=False), "info", "login failed",
        "192.0.2.3:7 did not log in: gone",
        {"who": "nobody", "peer": "192.0.2.3:7", "why": ": gone"},
    ),
    (
        LoginFailed(NOBODY, "192.0.2.3", "", inner=True), "info", "login failed",
        "end to end session over: nobody from 192.0.2.3:7",
        {"who": "nobody", "peer": "192.0.2.3:7", "why": ""},
    ),
    (
        KeyRefused(NOBODY, "192.0.2.3", "SHA256:x", "unknown key"), "info", "key refused",
        "192.0.2.3:7: key SHA256:x refused: unknown key",
        {"peer": "192.0.2.3:7", "key": "SHA256:x", "reason": "unknown key"},
    ),
    (
        SignatureRefused(NOBODY, "192.0.2.3", "ssh-rsa"), "info", "signature refused",
        "192.0.2.3:7: a signature with ssh-rsa is not accepted",
        {"peer": "192.0.2.3:7", "algorithm": "ssh-rsa"},
    ),
    (
        RequestRefused(ME, "a session"), "warning", "request refused",
        f"{LEG} asked for a session: refused", {"leg": LEG, "what": "a session"},
    ),
    (
        RightsChanged(ME), "info", "rights changed", f"{LEG} has other rights now", {"leg": LEG},
    ),
    (
        RightsLost(ME, "expired"), "warning", "rights lost",
        f"{LEG} may not be here any more: expired", {"leg": LEG, "reason": "expired"},
    ),
    (LimitHit("x"), "warning", "limit hit", "limit hit: x", {"limit": "x"}),
    (
        ServicePublished("gpu1:80", ME), "info", "service published",
        f"gpu1:80 published by {LEG}", {"service": "gpu1:80", "leg": LEG},
    ),
    (
        ServiceRefused("gpu1:80", ME, "NO_RIGHT", "no"), "warning", "service refused",
        f"gpu1:80 refused to {LEG}: no", {"service": "gpu1:80", "leg": LEG, "reason": "no"},
    ),
    (
        ServiceTaken("gpu1:80", ME, YOU), "info", "leg replaced",
        f"gpu1:80: {LEG} takes over from {YOUR_LEG}",
        {"service": "gpu1:80", "leg": LEG, "older": YOUR_LEG},
    ),
    (
        ServiceWithdrawn("gpu1:80", ME, "by its agent"), "info", "service withdrawn",
        "gpu1:80 withdrawn: by its agent", {"service": "gpu1:80", "reason": "by its agent"},
    ),
    (
        StreamHeld("gpu1:80", ME), "debug", "stream held",
        f"gpu1:80: {LEG} waits for it", {"service": "gpu1:80", "leg": LEG},
    ),
    (
        StreamRefused("gpu1:80", ME, 2, "no", inner=False), "warning", "stream refused",
        f"gpu1:80 refused to {LEG}: no", {"service": "gpu1:80", "leg": LEG, "reason": "no"},
    ),
    (
        StreamRefused("db:1", ME, 1, "no", inner=True), "warning", "stream refused",
        f"db:1 refused to {LEG}: no", {"target": "db:1", "leg": LEG, "why": "no"},
    ),
    (
        SpliceOpened("gpu1:80", ME), "info", "splice opened",
        f"gpu1:80 splice opened for {LEG}", {"service": "gpu1:80", "leg": LEG},
    ),
    (
        SpliceClosed("gpu1:80", ME, 3, 5, 1.23456, "broke"), "info", "splice closed",
        f"gpu1:80 splice closed for {LEG}: 3 bytes there, 5 back, 1.235 s: broke",
        {
            "service": "gpu1:80", "leg": LEG, "there": 3, "back": 5, "seconds": 1.235,
            "why": ": broke",
        },
    ),
    (
        PortStreamClosed(port=80, **OVER), "info", "stream closed",
        "stream on port 80 closed, 2 bytes in, 1 bytes out",
        {"port": 80, "in_bytes": 2, "out_bytes": 1, "why": ""},
    ),
    (
        SessionStreamClosed(leg=ME, target="db:1", **OVER), "debug", "stream closed",
        "db:1: closed, 1 bytes in, 2 bytes out",
        {"target": "db:1", "received": 1, "sent": 2, "why": ""},
    ),
    (
        SessionStreamClosed(leg=ME, target="db:1", **REFUSED), "warning", "stream closed",
        "db:1: closed, 0 bytes in, 0 bytes out: refused: no",
        {"target": "db:1", "received": 0, "sent": 0, "why": ": refused: no"},
    ),
    (
        Listening("127.0.0.1:22"), "info", "listening",
        "listening on 127.0.0.1:22", {"address": "127.0.0.1:22"},
    ),
    (
        SettingChanged("drain", "1", "2", live=True), "info", "configuration changed",
        "drain: 1 -> 2", {"name": "drain", "before": "1", "after": "2"},
    ),
    (
        SettingChanged("listen", "1", "2", live=False), "info", "configuration kept",
        "listen stays 1 until restarted", {"name": "listen", "before": "1", "after": "2"},
    ),
    (
        Draining(3, 30.0), "info", "draining",
        "stopping: 3 legs have open streams, for at most 30 s", {"legs": 3, "seconds": 30.0},
    ),
    (
        Connected("b:22", "SSH-2.0-x", "aes"), "debug", "leg up",
        "connected to b:22 (SSH-2.0-x, aes)",
        {"where": "b:22", "version": "SSH-2.0-x", "cipher": "aes"},
    ),
    (
        NotConnected("b:22", "no answer", 0.5), "warning", "not connected",
        "no answer; trying again in 0.5 s",
        {"where": "b:22", "reason": "no answer", "delay": "0.5 s"},
    ),
    (
        Disconnected("b:22", "no answer", 0.5), "warning", "leg lost",
        "lost b:22: no answer; trying again in 0.5 s",
        {"where": "b:22", "reason": "no answer", "delay": "0.5 s"},
    ),
    (
        StillTrying("b:22", 60.0, "no answer", 240.0), "warning", "still trying",
        "still trying b:22, for 60 s now: no answer; again in 4 min",
        {"where": "b:22", "away": "60 s", "reason": "no answer", "delay": "4 min"},
    ),
    (
        Reconnected("b:22", 1.5), "info", "leg up again",
        "connected to b:22 again, after 1.5 s", {"where": "b:22", "away": "1.5 s"},
    ),
    (
        ServiceGranted("gpu1:80", "localhost:80", news=True), "info", "published",
        "gpu1:80 -> localhost:80 published", {"service": "gpu1:80", "target": "localhost:80"},
    ),
    (
        ServiceGranted("gpu1:80", "localhost:80", news=False), "debug", "published",
        "gpu1:80 -> localhost:80 published", {"service": "gpu1:80", "target": "localhost:80"},
    ),
    (
        ServiceGivenUp("gpu1:80", "localhost:80"), "info", "withdrawn",
        "gpu1:80 -> localhost:80 withdrawn", {"service": "gpu1:80", "target": "localhost:80"},
    ),
    (ServiceNotGranted("no"), "error", "not published", "no", {"reason": "no"}),
    (
        ServiceDown("gpu1:80", "localhost:80", "connection refused"), "warning", "service down",
        "gpu1:80: localhost:80 does not answer (connection refused); not published until it does",
        {"service": "gpu1:80", "target": "localhost:80", "reason": "connection refused"},
    ),
    (
        ServiceUp("gpu1:80", "localhost:80", 40.0), "info", "service up",
        "gpu1:80: localhost:80 answers, after 40 s",
        {"service": "gpu1:80", "target": "localhost:80", "away": "40 s"},
    ),
    (
        StreamOpened("gpu1:80", "a:1", "db:1"), "debug", "stream opened",
        "gpu1:80: stream from a:1 to db:1",
        {"service": "gpu1:80", "origin": "a:1", "target": "db:1"},
    ),
    (
        ServiceStreamClosed(service="gpu1:80", origin="a:1", target="db:1", **OVER),
        "debug", "stream closed",
        "gpu1:80: stream from a:1 to db:1 closed, 1 bytes in, 2 bytes out",
        {
            "service": "gpu1:80", "origin": "a:1", "target": "db:1", "received": 1, "sent": 2,
            "why": "",
        },
    ),
    (
        Ready("127.0.0.1:80", "gpu1:80"), "info", "ready",
        "127.0.0.1:80 -> gpu1:80 ready",
        {"listening": "127.0.0.1:80", "target": "gpu1:80", "but": ""},
    ),
    (
        Ready("127.0.0.1:80", "gpu1:80", "not yet"), "info", "ready",
        "127.0.0.1:80 -> gpu1:80 ready, not yet",
        {"listening": "127.0.0.1:80", "target": "gpu1:80", "but": ", not yet"},
    ),
    (
        Ready("127.0.0.1:80", ""), "info", "ready",
        "127.0.0.1:80 -> SOCKS ready", {"listening": "127.0.0.1:80"},
    ),
    (
        Closed("127.0.0.1:80", "gpu1:80"), "info", "closed",
        "127.0.0.1:80 -> gpu1:80 closed", {"listening": "127.0.0.1:80", "target": "gpu1:80"},
    ),
    (
        Closed("127.0.0.1:80", ""), "info", "closed",
        "127.0.0.1:80 -> SOCKS closed", {"listening": "127.0.0.1:80"},
    ),
    (NotReady("taken"), "error", "not ready", "taken", {"reason": "taken"}),
    (
        StreamWaits("127.0.0.1:80", "gpu1:80", "not there", again=False), "info", "waiting",
        "127.0.0.1:80 -> gpu1:80: not there; waiting for it",
        {"listening": "127.0.0.1:80", "target": "gpu1:80", "reason": "not there"},
    ),
    (
        StreamWaits("127.0.0.1:80", "gpu1:80", "not there", again=True), "debug", "waiting",
        "127.0.0.1:80 -> gpu1:80: not there; waiting for it",
        {"listening": "127.0.0.1:80", "target": "gpu1:80", "reason": "not there"},
    ),
    (
        LocalStreamClosed(listening="127.0.0.1:80", target="gpu1:80", **REFUSED),
        "warning", "stream closed",
        "127.0.0.1:80 -> gpu1:80: stream closed, 0 bytes there, 0 back: refused: no",
        {
            "listening": "127.0.0.1:80", "target": "gpu1:80", "received": 0, "sent": 0,
            "why": ": refused: no",
        },
    ),
    (
        SocksRefused("127.0.0.1:80", "a:1", "no"), "warning", "socks refused",
        "127.0.0.1:80: a:1: no", {"listening": "127.0.0.1:80", "origin": "a:1", "reason": "no"},
    ),
    (
        SocksRefused("gpu1:80", "", "no"), "warning", "socks refused",
        "gpu1:80: SOCKS client refused: no", {"service": "gpu1:80", "reason": "no"},
    ),
    (
        Note("error", "reload failed", "{reason}; no", "", {"reason": "x"}), "error",
        "reload failed", "x; no", {"reason": "x"},
    ),
]  # fmt: skip


@pytest.fixture
def sink(caplog: pytest.LogCaptureFixture) -> Iterator[LogSink]:
    with caplog.at_level(logging.DEBUG, "relay.test"):
        yield LogSink(EventLog("test"))


@pytest.mark.parametrize(
    ("event", "level", "name", "sentence", "fields"),
    SAID,
    ids=[type(event).__name__ for event, *_ in SAID],
)
def test_the_words_stay(
    event: Event,
    level: str,
    name: str,
    sentence: str,
    fields: dict[str, Any],
    sink: LogSink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink(event)
    (record,) = caplog.records
    assert (record.levelname.lower(), record.getMessage()) == (level, sentence)
    assert record.event == name  # type: ignore[attr-defined]
    assert record.fields == fields  # type: ignore[attr-defined]
    json.dumps(record.fields)  # type: ignore[attr-defined]


def kinds(base: type[Event]) -> Iterator[type[Event]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_every_event_is_told_and_tried_here() -> None:
    # With slots=True a class is made twice; the first is nobody's.
    ours = {kind for kind in kinds(Event) if kind in LINES or "__slots__" in vars(kind)}
    ours = {kind for kind in ours if kind.__module__.startswith("relay.")}
    assert ours - {Note, StreamClosed} == set(LINES)
    assert set(LINES) == {type(event) for event, *_ in SAID} - {Note}


def test_what_nobody_reads_costs_no_words(caplog: pytest.LogCaptureFixture) -> None:
    class Unread:
        def __str__(self) -> str:
            raise AssertionError("nobody reads it")

    unread: Any = Unread()
    with caplog.at_level(logging.INFO, "relay.test"):
        LogSink(EventLog("test"))(StreamHeld("gpu1:80", unread))
    assert not caplog.records


def test_a_limit_is_told_once_and_then_counted(
    sink: LogSink, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        sink(LimitHit("channels-per-leg"))
    assert len(caplog.records) == 1
    sink.report()
    assert [record.getMessage() for record in caplog.records[1:]] == [
        "limit hit: channels-per-leg, 4 times more"
    ]


def test_strangers_have_their_lines_and_a_login_gives_them_back(
    sink: LogSink, caplog: pytest.LogCaptureFixture
) -> None:
    failed = LoginFailed(NOBODY, "192.0.2.3", "", inner=False)
    for _ in range(STRANGER_LINES + 3):
        sink(failed)
    assert len(caplog.records) == STRANGER_LINES
    sink(KeyRefused(NOBODY, "192.0.2.3", "SHA256:x", "unknown key"))
    assert len(caplog.records) == STRANGER_LINES
    sink(LegUp(ME, "192.0.2.3", "u", "SSH-2.0-x", "aes", inner=False))
    sink(failed)
    assert len(caplog.records) == STRANGER_LINES + 2
    sink.report()
    assert caplog.records[-1].getMessage() == "192.0.2.3: 3 more connections did not log in"


def test_one_peer_does_not_fill_a_log(sink: LogSink, caplog: pytest.LogCaptureFixture) -> None:
    events = Events(sink)
    for _ in range(1000):
        events.emit(SpliceClosed("gpu1:80", ME, 3, 5, 1.0, ""))
    assert len(caplog.records) == 300
    sink.report()
    assert caplog.records[-1].getMessage() == (
        f"{WHO}: 700 more of: splice closed, 2100 there, 3500 back"
    )
