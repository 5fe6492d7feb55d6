"""One tunnel, as far as it is in an asyncio event loop: a leg that is kept up, and what it carries.

One leg after the other carries both what is opened and what is published. All that is here is
called in the loop; what others may read from elsewhere says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Final, Generic

import anyio

from relay.agent.program import Publisher
from relay.agent.published import InProcess, Publishable, requested_address, service_name
from relay.core.forward import Forward, format_address
from relay.core.forwards import Desired, Far
from relay.errors import AddressError, LegLost, NotPublished, PeerError, Refused, UnknownService
from relay.events import Events
from relay.io.engine import Engine
from relay.io.local import name_of
from relay.library.config import LinkConfig
from relay.library.context import asyncio_context, end_of, turns
from relay.library.feed import Feed
from relay.library.incoming import Incoming
from relay.library.joint import Joint, Raw
from relay.life.supervise import Prompt, Supervisor
from relay.opener.dynamic import DynamicForward
from relay.opener.gate import AGAIN, Gate
from relay.opener.listeners import listening_sockets
from relay.opener.local import LocalForward, open_message
from relay.ssh.client import ClientLeg
from relay.ssh.connect import connect

ORIGIN: Final = ("127.0.0.1", 0)
"""Where our streams are said to come from: from no socket."""


class Link(Generic[Raw]):
    """A tunnel's half in the event loop."""

    def __init__(self, config: LinkConfig, joint: Joint[Raw]) -> None:
        self._config = config
        self._joint = joint
        self.events = Events()
        client = config.connect.client
        self.where = format_address(client.host, client.port)
        # Made by `start`, in the loop; `_begun` is set when the connection is there for the first
        # time, or will never be.
        self._begun: anyio.Event
        self._context: Context
        self._engine: Engine
        self._gate: Gate[ClientLeg]
        self._publisher: Publisher
        self._supervisor: Supervisor
        self._task: asyncio.Task[None] | None = None
        # The services that have been opened: they are no wrong names.
        self._were_there: set[str] = set()
        # Why there will be no connection any more.
        self._failure: Exception | None = None
        # What ends with it.
        self._forwards: set[LocalForward | DynamicForward] = set()
        self._incoming: set[Incoming[Raw]] = set()
        self._feeds: set[Feed] = set()
        self._prompt = Prompt()

    # -- its life

    async def start(self) -> None:
        """Return when it is connected. Raises `RelayError`, and leaves nothing behind then."""
        loop = asyncio.get_running_loop()
        agent = self._config.agent
        self._begun = anyio.Event()
        self._engine = Engine(loop, busy_poll=agent.busy_poll, max_window=agent.max_window)
        self._publisher = Publisher(agent, None, self.events, self._engine, self._prompt)
        self._context = asyncio_context()
        self._task = loop.create_task(self._run(), context=self._context)
        try:
            await self._begun.wait()
            if self._failure is not None:
                raise self._failure
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it, and wait until nothing of it is left; to be cancelled changes nothing."""
        task = self._task
        if task is None:
            return
        self._task = None
        for forward in self._forwards:
            forward.close()
        self._forwards.clear()
        for incoming in tuple(self._incoming):
            self.unlisten(incoming)
        task.cancel()
        await end_of(task)
        # The leg's last words, and those who are told of its end, have their turns.
        await end_of(asyncio.ensure_future(turns()))
        self._engine.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _run(self) -> None:
        config = self._config.connect
        async with anyio.create_task_group() as waiting:
            self._gate = Gate(config.wait, waiting)
            self._supervisor = Supervisor(
                self.where,
                self.events,
                once=False,
                keep_trying=config.keep_trying,
                patience=config.wait,
                wanted=self._gate.wanted,
                prompt=self._prompt,
            )
            try:
                await self._supervisor.run(self._attempt)
            except Exception as error:
                self._fails(error)
            except BaseException:
                self._fails(LegLost(f"the tunnel to {self.where} is closed"))
                raise
            waiting.cancel_scope.cancel()

    async def _attempt(self, up: Callable[[], None]) -> None:
        leg = await connect(self._config.connect.client, self.events, self._engine)
        try:
            self._gate.open(leg)
            up()
            self._begun.set()
            await self._publisher.carry(leg, _nothing)
        finally:
            leg.close()

    def _fails(self, error: Exception) -> None:
        self._failure = error
        self._gate.fail(error)
        self._publisher.desired.leg_lost()  # Those who wait for an answer are told.
        for feed in tuple(self._feeds):
            self.unwatch(feed)
        self._begun.set()

    # -- what happens

    def watch(self, feed: Feed) -> None:
        """Tell it what happens from now on."""
        feed.begin(self.events)
        self._feeds.add(feed)
        if self._failure is not None:
            self.unwatch(feed)

    def unwatch(self, feed: Feed) -> None:
        """Tell it no more."""
        self._feeds.discard(feed)
        feed.end()

    def retry(self) -> None:
        """What waits for its next try is tried now."""
        self._prompt()

    @property
    def leg(self) -> ClientLeg | None:
        """The leg, if there is one and it lives. May be read in any thread."""
        return self._gate.leg

    # -- what is opened

    async def open(self, service: str, target: Forward, joint: Joint[Raw] | None = None) -> Raw:
        """A stream to `target`, which its user calls `service`. Where there is no connection, or
        behind a new one no service, it waits, as a connection to a port of relay-connect does.
        `joint` makes it, if it is not to be as the others. Raises `PeerError`, OSError."""
        kind, fields = open_message(target, ORIGIN)
        came = anyio.current_time()
        while True:
            leg = await self._next_leg(came)
            try:
                raw = await (joint or self._joint).open(leg, kind, fields)
                self._were_there.add(service)
                return raw
            except PeerError as error:
                # Nothing was sent yet: where there may be another answer it is asked for again.
                again = isinstance(error, LegLost | NotPublished)
                if isinstance(error, UnknownService) and service not in self._were_there:
                    again = False  # It may well be a wrong name.
                if leg.alive and again:
                    stopping = isinstance(error, LegLost)
                    again = self._gate.may_enter_again(came, stopping=stopping)
                if not again:
                    text = str(error)  # A relay-server says which service it is, an sshd does not.
                    text = text if text.startswith(f"{service}: ") else f"{service}: {text}"
                    raise type(error)(text) from None
            if leg.alive:
                await anyio.sleep(AGAIN)

    async def _next_leg(self, came: float) -> ClientLeg:
        """For one who came then. Raises `PeerError`."""
        leg = await self._gate.next_leg(came + self._gate.wait)
        if leg is None:
            raise self._no_leg()
        return leg

    def _no_leg(self) -> Exception:
        if self._failure is not None:
            return self._failure
        _, _, reason = self._supervisor.state(anyio.current_time())
        return LegLost(f"there is no connection to {self.where}{reason and ': '}{reason}")

    async def forward(self, forward: Forward) -> tuple[LocalForward | DynamicForward, str]:
        """Listen here, until `unforward`; returns where, too. Raises `AddressError`."""
        if self._task is None:
            raise self._no_leg()
        return self._context.run(self._forward, forward)

    def _forward(self, forward: Forward) -> tuple[LocalForward | DynamicForward, str]:
        sockets = listening_sockets(self._config.connect, forward)
        name = forward.listen_path or name_of(sockets[0])
        kind = DynamicForward if forward.dynamic else LocalForward
        opened = kind(self._gate, forward, sockets, self.events)
        self._forwards.add(opened)
        opened.say_ready()
        return opened, name

    async def done(self) -> None:
        """Return when all that was to be done soon is done."""

    def unforward(self, opened: LocalForward | DynamicForward) -> None:
        """Listen there no more. Streams that are open go on."""
        if opened in self._forwards:
            self._forwards.remove(opened)
            opened.close()
            opened.say_closed()

    # -- what is published

    async def publish(self, what: Publishable) -> Desired[Publishable]:
        """Publish it, over this leg and those to come, until `withdraw`. Raises `AddressError` when
        this tunnel publishes it already, `Refused`, `LegLost`."""
        self._check_free(what)
        wanted = self._publisher.desired
        desired = wanted.want(what)
        try:
            came = anyio.current_time()
            while not desired.is_settled:
                await self._next_leg(came)
                await wanted.change()
            if desired.far is not Far.GRANTED:
                raise Refused(desired.reason)
            return desired
        except BaseException:
            wanted.drop(what)
            raise

    def _check_free(self, what: Publishable) -> None:
        address = requested_address(what), what.port
        for desired in self._publisher.desired.forwards:
            other = desired.key
            if what.port and desired.wanted and (requested_address(other), other.port) == address:
                raise AddressError(f"{service_name(what, what.port)}: this tunnel publishes it")

    def withdraw(self, desired: Desired[Publishable]) -> None:
        """Publish it no more. Streams that are open go on."""
        if self._publisher.desired.forwards.get(desired.key) is desired:
            self._publisher.desired.drop(desired.key)

    async def withdrawn(self, desired: Desired[Publishable]) -> None:
        """Return when B knows that."""
        while desired.far is not Far.ABSENT and self._failure is None:
            await self._publisher.desired.change()

    async def listen(
        self, bind: str | None, port: int
    ) -> tuple[Incoming[Raw], Desired[Publishable]]:
        """Publish a service whose streams this process takes."""
        incoming = Incoming(self._joint)
        desired = await self.publish(InProcess(bind, port, incoming.stream))
        self._incoming.add(incoming)
        return incoming, desired

    def unlisten(self, incoming: Incoming[Raw]) -> None:
        """Take no more."""
        self._incoming.discard(incoming)
        incoming.close()


def _nothing() -> None:
    pass
