"""A's side of a resumable session: it asks for it, and has it go on by another way."""

from __future__ import annotations

import asyncio

import anyio

from relay.core.limits import ATTACH_TIMEOUT, RETAINED_PER_SESSION
from relay.errors import LegLost
from relay.events import Events
from relay.io.engine import Engine
from relay.io.nested import NestedStream
from relay.ssh.client import ClientLeg
from relay.ssh.connect import jump, or_closed
from relay.ssh.way import reach
from relay.sshconfig.client import ClientConfig
from relay.wire.numbers import ENDPOINT_VERSION, RESUME
from relay.wire.resume import Agreement, Offer, parse_agreement


async def agree(leg: ClientLeg, seconds: float, earlier: bytes = b"") -> Agreement | None:
    """Ask whether the session of `leg` may be held for so long; `earlier` is one of which a relay
    says that it is not known. None: the other side is no endpoint of ours, or it says no."""
    stream = leg.resumable
    if stream is None or leg.get_extra_info("server_version", "") != ENDPOINT_VERSION:
        return None
    done: asyncio.Future[Agreement | None] = leg.loop.create_future()

    def answered(fields: bytes | None) -> None:
        agreement = None if fields is None else parse_agreement(fields)
        stream.answered(agreement)
        if not done.done():
            done.set_result(agreement)

    stream.ask()
    offer = Offer(round(1000 * seconds), RETAINED_PER_SESSION, earlier)
    leg.ask(RESUME, offer.fields(), answered)
    return await done


async def attach(leg: ClientLeg, config: ClientConfig, events: Events, engine: Engine) -> bool:
    """Have the session of `leg`, which is held, go on by the way that `config` names. False: that
    may well be over; `leg.resumable.denied` says whether the other side has said so.

    Raises as `connect`, and `LegLost` where there is no answer.
    """
    stream = leg.resumable
    assert stream is not None
    via = await jump(config, events, engine)
    if via is None:
        return False
    changed = anyio.Event()
    with or_closed(via):
        try:
            with anyio.fail_after(config.connect_timeout):
                channel, _ = await reach(config, via)
        except TimeoutError:
            raise LegLost("no answer on the way to the session") from None
        assert isinstance(channel, NestedStream)
    leg.via = via
    leg.when_let_go = changed.set
    leg.when_attached = changed.set
    with anyio.move_on_after(ATTACH_TIMEOUT):
        stream.attach_to(channel)
        await changed.wait()
    leg.when_let_go = leg.when_attached = lambda: None
    if leg.carried:
        return True
    if not stream.denied:
        stream.lost("no answer")
        via.close()
        raise LegLost(f"the session cannot go on yet: {stream.reason}")
    return False
