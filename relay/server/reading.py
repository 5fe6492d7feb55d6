"""What is open at B: found by a walk over all channels, which takes its turns as everybody else.

Fifty thousand channels are walked in some tens of milliseconds: in one go that would be a delay of
every stream. So streams begin and end between two turns. What is read is right nevertheless: a
stream's bytes are settled as it is passed (core/traffic.py), and one that ends settles itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from relay.core.splice import Side
from relay.core.traffic import Traffic
from relay.io.turns import in_turn
from relay.server.splices import SplicedStream, SpliceEnd
from relay.ssh.listener import Visitor
from relay.ssh.server import ServerLeg

Stream = SplicedStream | Visitor


@dataclass(slots=True)
class Reading:
    """What a walk has found."""

    streams: list[SplicedStream] = field(default_factory=list)
    visitors: list[Visitor] = field(default_factory=list)
    """Connections to the open ports of services."""
    waiting: Counter[Traffic] = field(default_factory=Counter)
    """Bytes that are held for streams, by whose they are; those with none are not in it."""

    def add(self, stream: Stream) -> None:
        stream.settle()
        if isinstance(stream, Visitor):
            self.visitors.append(stream)
        else:
            self.streams.append(stream)
        if waiting := stream.waiting:
            for traffic in stream.traffics:
                self.waiting[traffic] += waiting

    @property
    def all(self) -> Sequence[Stream]:
        return [*self.streams, *self.visitors]


async def read(legs: Iterable[ServerLeg]) -> Reading:
    """The streams on these legs, settled."""
    reading = Reading()
    channels = chain.from_iterable(map(_channels, legs))
    async for some in in_turn(channels):
        for channel in some:
            if isinstance(channel, SpliceEnd):
                if _stands_for_both(channel):
                    reading.add(channel.stream)
            elif isinstance(channel, Visitor) and channel.traffics:
                reading.add(channel)
    return reading


def _channels(leg: ServerLeg) -> Iterator[object]:
    """As they are when the walk comes to this leg, and the leg itself, which takes time too."""
    return iter((leg, *leg.mux.channels.values()))


def _stands_for_both(end: SpliceEnd) -> bool:
    """Each stream is met once: at its opener, or at the end that has outlived that."""
    if end.side is Side.OPENER:
        return True
    opener = end.stream.ends[Side.OPENER]
    number = end.stream.splice.channels[Side.OPENER].local_id
    return opener.leg.mux.channels.get(number) is not opener
