"""`authorized_keys.parse`: any text will do, and each line has one outcome at most."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from relay.trust.authorized_keys import parse
from relay.trust.certificates import Certificate

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ZONE = timezone(timedelta(hours=-9))


def one_input(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    keys = parse(text, "authorized_keys", ZONE)
    lines = [entry.line for entry in keys.entries] + [problem.line for problem in keys.problems]
    assert len(lines) == len(set(lines))
    assert len(lines) <= text.count("\n") + 1
    for problem in keys.problems:
        assert "\n" not in str(problem)
    for entry in keys.entries:
        signed = Certificate(entry.blob, "root") if entry.is_ca else None
        keys.find(entry.blob, address="192.0.2.1", now=NOW, certificate=signed)
