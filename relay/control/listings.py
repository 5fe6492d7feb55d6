"""What a row of each list of relay-server says: `openapi_server.py` describes the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import anyio

from relay.control.pages import Listing
from relay.core.traffic import Traffic
from relay.events import LegName
from relay.server.kick import stream_id
from relay.server.reading import Stream
from relay.server.routes import AgentRoute
from relay.server.services import Absent, Services
from relay.ssh.listener import Visitor
from relay.ssh.server import ServerLeg

WHO = ("fingerprint", "comment", "peer")


def legs(published: Services) -> Listing[ServerLeg]:
    return Listing(
        {
            "leg": lambda leg: leg.number,
            "fingerprint": lambda leg: leg.name.fingerprint,
            "comment": lambda leg: leg.name.comment,
            "peer": lambda leg: leg.peer,
            "user": lambda leg: leg.get_extra_info("username", ""),
            "client": lambda leg: leg.get_extra_info("client_version", ""),
            "cipher": lambda leg: leg.get_extra_info("send_cipher", ""),
            "seconds": lambda leg: _age(leg.since),
            "services": published.of,
            "streams": lambda leg: leg.traffic.open,
            "bytes_received": lambda leg: leg.traffic.received,
            "bytes_sent": lambda leg: leg.traffic.sent,
            "bytes_waiting": lambda leg: leg.out.waiting,
        },
        texts=(*WHO, "user", "client", "cipher"),
        identity=lambda leg: (leg.number,),
        identified_by=(int,),
        searched=(*WHO, "user", "client"),
    )


def services(waiting: Mapping[Traffic, int]) -> Listing[AgentRoute | Absent]:
    """`waiting` are the bytes that B holds."""

    def number(count: Callable[[AgentRoute], int]) -> Callable[[AgentRoute | Absent], int]:
        return lambda one: 0 if isinstance(one, Absent) else count(one)

    return Listing(
        {
            "service": lambda one: one.name,
            "state": lambda one: one.state if isinstance(one, Absent) else "up",
            "reason": lambda one: one.reason if isinstance(one, Absent) else "",
            "leg": lambda one: one.leg.number,
            "fingerprint": lambda one: one.leg.name.fingerprint,
            "comment": lambda one: one.leg.name.comment,
            "peer": lambda one: one.leg.peer,
            "seconds": _in_this_state,
            "streams": number(lambda route: route.traffic.open),
            "streams_opened": number(lambda route: route.traffic.opened),
            "bytes_there": number(lambda route: route.traffic.sent),
            "bytes_back": number(lambda route: route.traffic.received),
            "bytes_waiting": number(lambda route: waiting.get(route.traffic, 0)),
            "stalls": number(lambda route: route.traffic.stalls),
        },
        texts=("service", "state", "reason", *WHO),
        identity=lambda one: (one.name, one.leg.number),
        identified_by=(str, int),
        searched=("service", "state", "reason", *WHO),
    )


def _in_this_state(one: AgentRoute | Absent) -> float:
    if isinstance(one, Absent):
        return max(0.0, round(anyio.current_time() - one.since, 3))
    return _age(one.since)


def streams(names: Mapping[Traffic, str]) -> Listing[Stream]:
    """`names` are those of the services that connections to open ports go to."""

    def service(stream: Stream) -> str:
        if isinstance(stream, Visitor):
            return next((names[one] for one in stream.traffics if one in names), "")
        return stream.route.name

    return Listing(
        {
            "stream": stream_id,
            "service": service,
            "opener": lambda stream: _opener(stream).number or None,
            "agent": lambda stream: stream.agent,
            "comment": lambda stream: _opener(stream).comment,
            "peer": lambda stream: _opener(stream).peer,
            "seconds": _seconds,
            "bytes_there": lambda stream: stream.moved[0],
            "bytes_back": lambda stream: stream.moved[1],
            "bytes_waiting": lambda stream: stream.waiting,
        },
        texts=("stream", "service", "comment", "peer"),
        identity=lambda stream: stream.number,
        identified_by=(int, int),
        searched=("service", "comment", "peer"),
    )


_NOBODY = LegName(0, "", "", "")
"""Of a connection to an open port nobody knows whose it is."""


def _opener(stream: Stream) -> LegName:
    return _NOBODY if isinstance(stream, Visitor) else stream.opener


def _seconds(stream: Stream) -> float | None:
    if isinstance(stream, Visitor):
        return None
    return max(0.0, round(time.monotonic() - stream.began, 3))


def _age(since: float) -> float:
    return max(0.0, round(time.time() - since, 3))
