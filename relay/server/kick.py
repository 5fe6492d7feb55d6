"""What an operator ends: a key's legs, one leg, a service, a stream. Nobody is kept out by that:
who may come back does, and whose key is removed from authorized_keys may not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.core.forward import parse_port, split_fields
from relay.core.services import unmarked
from relay.errors import UsageError
from relay.events import LegName
from relay.io.turns import in_turn
from relay.server.reading import Stream
from relay.server.relay import Relay

BY_THE_OPERATOR: Final = "ended by the operator"

_LEG: Final = re.compile(r"[0-9]{1,18}")
_STREAM: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,10})")


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended, by the names that it had."""

    legs: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()


def stream_id(stream: Stream) -> str:
    """Its opener's leg (of a connection to an open port, the agent's) and channel there."""
    leg, channel = stream.number
    return f"{leg}.{channel}"


async def kick(relay: Relay, what: str) -> Ended:
    """End what is named: `SHA256:…` a key's legs, `12` a leg, `name:port` a service with the
    streams to it, `12.3` a stream. Raises UsageError if it is none of these names. (Perhaps
    nothing has it.)"""
    if what.startswith("SHA256:"):
        return _kick_legs(relay, lambda name: name.fingerprint == what)
    if _LEG.fullmatch(what):
        return _kick_legs(relay, lambda name: name.number == int(what))
    if _STREAM.fullmatch(what):
        return Ended(streams=await _kick_streams(relay, lambda stream: stream_id(stream) == what))
    fields = split_fields(what)
    if fields is None or len(fields) != 2 or not parse_port(fields[1]):
        raise UsageError(
            f"{what!r}: give a key's fingerprint (SHA256:…), the number of a leg, a service "
            "(name:port) or the number of a stream (12.3)"
        )
    return await _kick_service(relay, what)


def _kick_legs(relay: Relay, meant: Callable[[LegName], bool]) -> Ended:
    found = [leg for leg in relay.legs if leg.logged_in and leg.alive and meant(leg.name)]
    names = tuple(str(leg) for leg in found)
    for leg in found:
        leg.dismiss(BY_THE_OPERATOR)
    return Ended(legs=names)


async def _kick_service(relay: Relay, what: str) -> Ended:
    routes = [route for route in relay.services if route.name == unmarked(what)]
    meant = {route.traffic for route in routes}
    for route in routes:  # First: nothing new goes there while we look for what is open.
        relay.services.end(route, BY_THE_OPERATOR)
    streams = await _kick_streams(relay, lambda stream: not meant.isdisjoint(stream.traffics))
    return Ended(services=tuple(route.name for route in routes), streams=streams)


async def _kick_streams(relay: Relay, meant: Callable[[Stream], bool]) -> tuple[str, ...]:
    reading = await relay.reading()
    ended = []
    async for some in in_turn(reading.all):
        names = [(stream_id(one), one) for one in some if meant(one)]
        ended += [name for name, one in names if one.end(BY_THE_OPERATOR)]
    return tuple(ended)
