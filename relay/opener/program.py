"""`relay-connect` as a program: dial B, open local ports, and a channel for each connection.

The ports are opened once and stay open; the legs come and go under them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from enum import Enum
from typing import Any

import anyio

from relay.core.forward import Forward, format_address
from relay.core.forwards import Desired
from relay.errors import PeerError, RelayError
from relay.events import Events
from relay.events.client import NotReady
from relay.io.engine import Engine
from relay.life.reconcile import Reconciler
from relay.life.running import Operate, Running
from relay.life.supervise import Prompt, Supervisor
from relay.observe.lines import LogSink
from relay.observe.log import EventLog
from relay.opener.config import ConnectConfig
from relay.opener.gate import Gate
from relay.opener.listeners import Listeners
from relay.opener.session import Session, streams_of
from relay.opener.stdio import run_stdio
from relay.ssh.client import ClientLeg
from relay.ssh.connect import about, connect
from relay.trust.hostkeys import fingerprint
from relay.wire.numbers import ENDPOINT_VERSION, RELAY_VERSION


async def run(
    config: ConnectConfig,
    log: EventLog,
    prompt: Prompt | None = None,
    *operators: Operate[Forward],
) -> None:
    """Forward until cancelled, or until the leg is lost for good; a lost one is tried at once when
    the `prompt` says so, and `operators` may change what is forwarded. Raises `RelayError`."""
    prompt = prompt or Prompt()
    events = Events(LogSink(log))
    engine = Engine(
        asyncio.get_running_loop(), busy_poll=config.busy_poll, max_window=config.max_window
    )
    with closing(engine):
        if config.stdio_forward is not None:
            await one_stream(config, *config.stdio_forward, events, engine, prompt)
        else:
            await forward(config, events, engine, prompt, operators)


async def forward(
    config: ConnectConfig,
    events: Events,
    engine: Engine,
    prompt: Prompt,
    operators: Sequence[Operate[Forward]],
) -> None:
    """Everything but `-W`."""
    async with anyio.create_task_group() as waiting:
        gate: Gate[ClientLeg] = Gate(config.wait, waiting)
        with ExitStack() as stack:
            listeners = stack.enter_context(closing(Listeners(config, gate, events)))
            session = stack.enter_context(closing(Session(config, events, engine)))
            carried = Carried(config, gate, listeners, session, events)
            # Before B is dialled: what is wrong on this machine is told first.
            desired = await opened(config, listeners, events)
            supervising = supervisor(
                config, events, prompt, wanted=gate.wanted, urgent=session.urgent
            )
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(desired.run, listeners)
                tasks.start_soon(obey, prompt, desired)
                end = tasks.cancel_scope.cancel
                running = Running(
                    supervising, desired, carried.streams, carried.about, end, listeners.trouble
                )
                for operate in operators:
                    tasks.start_soon(operate, running)
                await supervising.run(carried.attempt)
        waiting.cancel_scope.cancel()


async def opened(
    config: ConnectConfig, listeners: Listeners, events: Events
) -> Reconciler[Forward]:
    """All that is configured is open, or told. Raises `AddressError` when that is to be the end."""
    desired: Reconciler[Forward] = Reconciler()
    for one in config.local_forwards + config.dynamic_forwards:
        desired.want(one)

    def refused(_: Desired[Forward], error: RelayError) -> None:
        if config.exit_on_forward_failure:
            raise error
        events.emit(NotReady(str(error)))

    await desired.begin(listeners, refused)
    return desired


async def obey(prompt: Prompt, desired: Reconciler[Forward]) -> None:
    """Try what could not be opened when the prompt says so."""
    while True:
        await prompt.wait()
        desired.hurry()


def supervisor(
    config: ConnectConfig, events: Events, prompt: Prompt, **settings: Any
) -> Supervisor:
    where = format_address(config.client.host, config.client.port)
    once, keep_trying = config.once, config.keep_trying
    return Supervisor(where, events, once=once, keep_trying=keep_trying, prompt=prompt, **settings)


async def one_stream(
    config: ConnectConfig, host: str, port: int, events: Events, engine: Engine, prompt: Prompt
) -> None:
    """`-W`: the leg is tried for as long as any connection waits for it. Once the stream has
    begun nothing is tried again: bytes are on their way. Raises `RelayError`."""
    failure: PeerError | None = None

    async def attempt(up: Callable[[], None]) -> None:
        nonlocal failure
        leg = await connect(config.client, events, engine)
        up()
        try:
            await run_stdio(leg, host, port)
        except PeerError as error:
            failure = error
        finally:
            leg.close()

    await supervisor(config, events, prompt, patience=config.wait).run(attempt)
    if failure is not None:
        raise failure


class Carried:
    """The open ports, and one leg after another that carries their streams."""

    def __init__(
        self,
        config: ConnectConfig,
        gate: Gate[ClientLeg],
        listeners: Listeners,
        session: Session,
        events: Events,
    ) -> None:
        self._session = session
        self._config = config
        self._gate = gate
        self._listeners = listeners
        self._events = events
        self._was_ready = False

    def streams(self) -> int:
        """How many are open, or wait."""
        leg = self._gate.leg or self._session.held
        return self._gate.waiting + (streams_of(leg) if leg is not None else 0)

    def about(self) -> Mapping[str, str]:
        return about(self._gate.leg or self._session.held)

    async def attempt(self, up: Callable[[], None]) -> None:
        """Carry streams over a new leg, or again over the one that is held, until it is lost.
        Raises `RelayError`."""
        leg = await self._session.leg()
        try:
            self._gate.open(leg)
            up()
            if not self._was_ready:
                self._was_ready = True
                say_who_can_read(leg, self._config, self._events)
                self._listeners.say_ready()
            raise await self._session.end(leg)
        finally:
            self._gate.shut()
            self._session.leave(leg)


class FarEnd(Enum):
    """What the last session of a leg ends at, as far as that can be known."""

    RELAY = "a relay"
    SERVICE_MACHINE = "the machine that serves"
    UNKNOWN = "an sshd somewhere"


def far_end(version: str, before: str) -> FarEnd:
    """By the version lines of the far end and of the jump host before it ("": there is none).

    An sshd may be the service's machine, or a relay to it as well as ours. Behind a relay of ours
    it is the former: nothing can be reached there but what its agents publish.
    """
    if version == RELAY_VERSION:
        return FarEnd.RELAY
    if version == ENDPOINT_VERSION or before == RELAY_VERSION:
        return FarEnd.SERVICE_MACHINE
    return FarEnd.UNKNOWN


def say_who_can_read(leg: ClientLeg, config: ConnectConfig, events: Events) -> None:
    """Where the encryption ends must be plain to see: at the service's machine, or at one that
    opens what passes and seals it anew."""
    key = leg.server_host_key
    names = {
        # Of one that is reached by a port of B's, the alias is its name.
        "host": config.client.host_key_alias or config.client.host,
        "fingerprint": fingerprint(key) if key else "no key",
    }
    match far_end(version_of(leg), version_of(leg.via)):
        case FarEnd.RELAY:
            events.note("info", "relayed", "relayed by {host}, which can read it", **names)
        case FarEnd.SERVICE_MACHINE:
            events.note("info", "end to end", "end to end to {host} ({fingerprint})", **names)
        case FarEnd.UNKNOWN:
            text = "encrypted as far as {host} ({fingerprint}), which can read it; that is end to "
            text += "end if it serves by itself"
            events.note("info", "encrypted", text, **names)


def version_of(leg: ClientLeg | None) -> str:
    """The other side's version line, which is what it says of itself: whoever has its host key
    can say anything."""
    return leg.get_extra_info("server_version", "") if leg is not None else ""
