"""B's numbers: what is read is what has gone."""

from __future__ import annotations

from relay.events import Events, LegName
from relay.events.server import (
    KeyRefused,
    LegUp,
    LimitHit,
    LoginFailed,
    ServicePublished,
    ServiceRefused,
    ServiceWithdrawn,
    StreamRefused,
)
from relay.server.counters import Counters
from relay.wire.numbers import OpenFailure

ME = LegName(1, "SHA256:me", "", "192.0.2.1:5")


def test_what_happens_is_counted_by_few_names() -> None:
    counters = Counters()
    events = Events(counters)
    events.emit(LegUp(ME, "192.0.2.1", "u", "SSH-2.0-x", "aes", inner=False))
    events.emit(LoginFailed(ME, "192.0.2.1", "gone", inner=False))
    events.emit(ServicePublished("gpu1:80", ME))
    events.emit(ServiceWithdrawn("gpu1:80", ME, "by its agent"))
    for number in range(3):
        events.emit(KeyRefused(ME, "192.0.2.1", f"SHA256:{number}", f"reason {number}"))
        events.emit(LimitHit("max-startups"))
        events.emit(ServiceRefused("gpu1:80", ME, "HELD", f"somebody {number} has it"))
        code = OpenFailure.NOT_PUBLISHED
        events.emit(StreamRefused(f"gpu{number}:80", ME, code, "not there", inner=False))
    assert (counters.logins, counters.logins_failed, counters.published) == (1, 1, 1)
    assert counters.limits == {"max-startups": 3}
    assert counters.refusals == {
        ("login", "KEY"): 3,
        ("service", "HELD"): 3,
        ("stream", "NOT_PUBLISHED"): 3,
    }
