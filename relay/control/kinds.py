"""The kinds of forwards, by the names that the control API has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from relay.core.forward import Forward, format_address, parse_forward
from relay.core.forwards import Desired, Far
from relay.errors import UsageError
from relay.life.running import Trouble
from relay.observe.lines import duration

if TYPE_CHECKING:
    # (relay-connect is to load nothing of the agent's.)
    from relay.agent.published import Publishable

REMOTE: Final = "remote"
REMOTE_DYNAMIC: Final = "remote-dynamic"
LOCAL: Final = "local"
DYNAMIC: Final = "dynamic"
ENDPOINT: Final = "endpoint"

OF_AGENT: Final = (REMOTE, REMOTE_DYNAMIC)
OF_CONNECT: Final = (LOCAL, DYNAMIC)
"""What can be asked for: `-R` with a target and without, `-L` and `-D`. Without a target is a kind
of its own, so that one which was forgotten does not open a whole network."""

_IS_DYNAMIC: Final = (REMOTE_DYNAMIC, DYNAMIC)
_IS_REMOTE: Final = (REMOTE, REMOTE_DYNAMIC)

STATES: Final = ("wanted", "asked", "granted", "refused", "withdrawing", "down")


def parse(kind: str, text: str, kinds: tuple[str, ...]) -> Forward:
    """A forward of one of these kinds, as it is written after its flag. Raises `UsageError`."""
    if kind not in kinds:
        raise UsageError(f"{kind!r} is no kind of forward here: give {' or '.join(kinds)}")
    dynamic, remote = kind in _IS_DYNAMIC, kind in _IS_REMOTE
    forward = parse_forward(text, allow_zero=True, dynamic=dynamic)
    if remote and forward.listen_path:
        raise UsageError(f"{text}: a unix socket on the server's side is not served")
    return forward


def kind_of(what: Publishable, kinds: tuple[str, ...]) -> str:
    return kinds[what.dynamic] if isinstance(what, Forward) else ENDPOINT


def state_of(desired: Desired[Publishable]) -> str:
    if not desired.wanted or desired.far is Far.CANCELLING:
        return "withdrawing"
    if desired.down:
        return "down" if desired.far is Far.ABSENT else "withdrawing"
    if desired.far is Far.ABSENT:
        return "refused" if desired.reason else "wanted"
    return str(desired.far.value)


def describe(
    desired: Desired[Publishable],
    kinds: tuple[str, ...],
    now: float,
    trouble: Trouble | None = None,
) -> Mapping[str, object]:
    """One forward as JSON."""
    what = desired.key
    state = state_of(desired)
    reason = desired.reason
    if desired.down:
        since = duration(now - desired.down_since)
        reason = f"it does not answer ({desired.down}, since {since})"
    again = max(0.0, desired.again - now)
    if isinstance(what, Forward):
        text, listening, target = str(what), what.listening, what.target
    else:
        text = listening = format_address(what.name, what.port)
        target = what.target
    return {
        "kind": kind_of(what, kinds),
        "forward": text,
        "listening": listening,
        "target": target,
        "state": state,
        "port": desired.port or (what.port or None),
        "reason": reason,
        "again_in": round(again, 3) if state == "refused" and again < 1e9 else None,
        "stream_refused": trouble.reason if trouble is not None else "",
        "stream_refused_for": round(now - trouble.since, 3) if trouble is not None else None,
    }


def names(forward: Forward, desired: Desired[Publishable]) -> bool:
    """Is this the one that is meant? Without a target it is by where it listens alone, as a person
    cancels it; a port that was picked is as good as the 0 that it was asked for with."""
    what = desired.key
    if not isinstance(what, Forward):
        return False
    if not forward.dynamic and (forward.host, forward.hostport, forward.target_path) != (
        what.host, what.hostport, what.target_path
    ):  # fmt: skip
        return False
    if forward.listen_path or what.listen_path:
        return forward.listen_path == what.listen_path
    return _address(forward) == _address(what) and forward.port in (what.port, desired.port)


def _address(forward: Forward) -> str:
    if forward.bind in (None, "localhost"):
        return "localhost"
    return "*" if forward.bind in ("", "*") else str(forward.bind)
