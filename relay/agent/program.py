"""`relay-agent` as a program: dial B, publish, and dial the service for each stream."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

import anyio

from relay.agent.config import AgentConfig
from relay.agent.published import Publishable, Published, requested
from relay.agent.session import SessionEndpoint
from relay.core.backoff import SLOW, Backoff
from relay.core.forward import format_address
from relay.core.forwards import Desired
from relay.errors import Refused, RelayError, UsageError
from relay.events import Events
from relay.events.client import ServiceNotGranted
from relay.io.engine import Engine
from relay.life.reconcile import Reconciler
from relay.life.running import Operate, Running
from relay.life.supervise import Prompt, Supervisor
from relay.observe.lines import LogSink
from relay.observe.log import EventLog
from relay.ssh.client import ClientLeg
from relay.ssh.connect import about, connect, explain
from relay.wire.messages import agent_started
from relay.wire.numbers import AGENT_STARTED


async def run(
    config: AgentConfig,
    log: EventLog,
    prompt: Prompt | None = None,
    *operators: Operate[Publishable],
) -> None:
    """Publish until cancelled, or until the leg is lost for good; what was refused is asked for at
    once when the `prompt` says so, and `operators` may change what is published. Raises
    `RelayError`."""
    prompt = prompt or Prompt()
    for forward in config.remote_forwards:
        if forward.listen_path:
            raise UsageError(f"-R {forward}: a unix socket on the server's side is not served")
    # Before B is dialled: what is wrong on this machine is told first.
    sink = LogSink(log)
    events = Events(sink)
    endpoint = SessionEndpoint(config.endpoint, events) if config.endpoint else None
    where = format_address(config.client.host, config.client.port)
    engine = Engine(
        asyncio.get_running_loop(), busy_poll=config.busy_poll, max_window=config.max_window
    )
    try:
        # An agent is out of its owner's reach when B is put right again: it never gives up.
        urgent = endpoint.resumptions.urgent if endpoint is not None else anyio.sleep_forever
        supervisor = Supervisor(
            where, events, once=config.once, keep_trying=True, prompt=prompt, urgent=urgent
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sink.run)
            publisher = Publisher(config, endpoint, events, engine, prompt)
            running = publisher.running(supervisor, tasks.cancel_scope.cancel)
            for operate in operators:
                tasks.start_soon(operate, running)
            if config.checks is not None:
                from relay.agent.health import Checker  # Others have no use for it.

                checker = Checker(config.checks, publisher.desired, events, publisher.refused_late)
                await tasks.start(checker.run)
            await supervisor.run(publisher.attempt)
            tasks.cancel_scope.cancel()
    finally:
        if endpoint is not None:
            endpoint.close()
        engine.close()
        sink.report()


class Publisher:
    """What the agent has to publish, over one leg after another."""

    def __init__(
        self,
        config: AgentConfig,
        endpoint: SessionEndpoint | None,
        events: Events,
        engine: Engine,
        prompt: Prompt | None = None,
    ) -> None:
        self._engine = engine
        self._prompt = prompt or Prompt()
        self._config = config
        self._endpoint = endpoint
        self._events = events
        # What is to be published, and how far that is so. With `once` nothing is asked for again.
        self.desired: Reconciler[Publishable] = Reconciler(None if config.once else _backoff)
        if endpoint is not None:
            self.desired.want(endpoint.config)
        for forward in config.remote_forwards:
            self.desired.want(forward)
        # The services that have been said to be published.
        self._said: set[str] = set()
        # The leg of the moment, from its login to its end.
        self._leg: ClientLeg | None = None
        # By what B tells an older program from a younger one, over all legs.
        self._started = anyio.current_time()
        self._name = os.urandom(16)

    async def attempt(self, up: Callable[[], None]) -> None:
        """Publish over a new leg until it is lost. Raises `RelayError`."""
        leg = await connect(self._config.client, self._events, self._engine)
        try:
            await self.carry(leg, up)
        finally:
            leg.close()

    async def carry(self, leg: ClientLeg, up: Callable[[], None]) -> None:
        """Publish over this leg until it is lost; `up` is called once all that is wanted has been
        asked for. Raises `RelayError`."""
        self._leg = leg
        try:
            if leg.to_a_relay:
                age = round(1000 * (anyio.current_time() - self._started))
                leg.tell(AGENT_STARTED, agent_started(age, self._name))
            published = Published(
                leg, self._endpoint, self._config.permit_remote_open, self._said, self._events
            )
            if not self._config.once:
                leg.ask_again = self.desired.hurry
            leg.service_taken = lambda host, port, why: self._taken(leg, host, port, why)
            await self.desired.begin(published, self._refused)
            up()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.desired.run, published)
                if not self._config.once:
                    tasks.start_soon(self._obey)
                if self._endpoint is not None:
                    tasks.start_soon(self._endpoint.judge.run)
                await leg.down.wait()
                tasks.cancel_scope.cancel()
            raise explain(leg.error or ConnectionError("connection closed"), self._config.client)
        finally:
            self._leg = None
            self.desired.leg_lost()

    def running(self, supervisor: Supervisor, end: Callable[[], object]) -> Running[Publishable]:
        """For who wants to look at it, and to change it; `end` ends the program."""
        return Running(
            supervisor,
            self.desired,
            streams=lambda: len(self._leg.mux.channels) if self._leg is not None else 0,
            connection=lambda: about(self._leg),
            exit=end,
        )

    async def _obey(self) -> None:
        """Ask for what is missing when the prompt says so."""
        while True:
            await self._prompt.wait()
            self.desired.hurry()

    @property
    def _may_not_fail(self) -> bool:
        """Is a forward that B does not grant, or takes back, the end of the program?"""
        return self._config.once and self._config.exit_on_forward_failure

    def _refused(self, desired: Desired[Publishable], error: RelayError) -> None:
        """For the first time over a leg."""
        if self._may_not_fail:
            raise error
        self._not_published(str(error))

    def refused_late(self, reason: str) -> None:
        """For the first time, but not when the leg came up."""
        if self._may_not_fail and self._leg is not None:
            self._leg.fail(Refused(reason))
        else:
            self._not_published(reason)

    def _taken(self, leg: ClientLeg, host: str, port: int, why: str) -> None:
        """B gave a service to another program with our key, or our key lost the right to it. (An
        old B does not say which.)"""
        where = format_address(host or "*", port)
        text = f"{where}: taken back by the server{why and ': '}{why}"
        for desired in self.desired.forwards:
            if requested(desired) == (host, port) and self.desired.taken(desired, text):
                if self._may_not_fail:
                    leg.fail(Refused(text))
                    return
                self._not_published(text)

    def _not_published(self, reason: str) -> None:
        again = "" if self._config.once else "; it will be asked for again"
        self._events.emit(ServiceNotGranted(f"{reason}{again}"))


def _backoff() -> Backoff:
    return Backoff(random.random, longest=SLOW)
