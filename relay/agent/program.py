"""`relay-agent` as a program: dial B, publish, and dial the service for each stream."""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import anyio

from relay.agent.config import AgentConfig
from relay.agent.dynamic import SocksExit, SocksStream
from relay.agent.session import SessionEndpoint
from relay.core.forward import Forward, format_address
from relay.core.grants import Permit
from relay.core.services import SHARE_MARK, is_address, is_privileged
from relay.errors import LegLost, Refused, UsageError
from relay.io.dial import dial_service, dial_unix
from relay.io.engine import Engine
from relay.life.backoff import HELD, HURRIED, SLOW, Backoff
from relay.life.supervise import Prompt, Supervisor
from relay.observe.log import EventLog
from relay.ssh.client import ClientLeg, connect, explain
from relay.ssh.endpoint import Endpoint, log_end
from relay.ssh.handler import OpenRefused
from relay.wire.messages import agent_started
from relay.wire.numbers import AGENT_STARTED, OpenFailure

Dial = Callable[[], Awaitable[socket.socket]]
Ask = Callable[[], Awaitable[None]]
"""Asks B to publish one thing. Raises `Refused` and `LegLost`."""


async def run(config: AgentConfig, log: EventLog, prompt: Prompt | None = None) -> None:
    """Publish until cancelled, or until the leg is lost for good; what was refused is asked for at
    once when the `prompt` says so. Raises `RelayError`."""
    prompt = prompt or Prompt()
    for forward in config.remote_forwards:
        if forward.listen_path:
            raise UsageError(f"-R {forward}: a unix socket on the server's side is not served")
    # Before B is dialled: what is wrong on this machine is told first.
    endpoint = SessionEndpoint(config.endpoint, log) if config.endpoint else None
    where = format_address(config.client.host, config.client.port)
    engine = Engine(
        asyncio.get_running_loop(), busy_poll=config.busy_poll, max_window=config.max_window
    )
    try:
        # An agent is out of its owner's reach when B is put right again: it never gives up.
        supervisor = Supervisor(where, log, once=config.once, keep_trying=True, prompt=prompt)
        await supervisor.run(Publisher(config, endpoint, log, engine, prompt).attempt)
    finally:
        log.report()
        if endpoint is not None:
            endpoint.close()
        engine.close()


class Publisher:
    """What the agent has to publish, over one leg after another."""

    def __init__(
        self,
        config: AgentConfig,
        endpoint: SessionEndpoint | None,
        log: EventLog,
        engine: Engine,
        prompt: Prompt | None = None,
    ) -> None:
        self._engine = engine
        self._prompt = prompt or Prompt()
        self._config = config
        self._endpoint = endpoint
        self._log = log
        # What has been said to be published, and for a port that B picked, which one it was.
        self.said: set[str] = set()
        self.picked: dict[Forward, int] = {}
        # By what B tells an older program from a younger one, over all legs.
        self._started = anyio.current_time()
        self._name = os.urandom(16)

    async def attempt(self, up: Callable[[], None]) -> None:
        """Publish over a new leg until it is lost. Raises `RelayError`."""
        client = self._config.client
        leg = await connect(client, self._log, self._engine)
        try:
            if leg.to_a_relay:
                age = round(1000 * (anyio.current_time() - self._started))
                leg.tell(AGENT_STARTED, agent_started(age, self._name))
            agent = Agent(leg, self._endpoint, self, self._config.permit_remote_open, self._log)
            wishes = [
                Wish(partial(agent.publish, forward), partial(self._requested, forward))
                for forward in self._config.remote_forwards
            ]
            if self._endpoint is not None:
                end = self._endpoint.config
                ask = partial(agent.publish_endpoint, self._endpoint)
                wishes.insert(0, Wish(ask, lambda: (end.name, end.port)))
            leg.ask_again = partial(_hurry, wishes)
            leg.service_taken = partial(self._taken, leg, wishes)
            for wish in wishes:
                await self._ask(wish)
            up()
            async with anyio.create_task_group() as tasks:
                if not self._config.once:
                    for wish in wishes:
                        tasks.start_soon(wish.keep)
                    tasks.start_soon(self._obey, wishes)
                if self._endpoint is not None:
                    tasks.start_soon(self._endpoint.judge.run)
                await leg.down.wait()
                tasks.cancel_scope.cancel()
            raise explain(leg.error or ConnectionError("connection closed"), client)
        finally:
            leg.close()

    async def _obey(self, wishes: list[Wish]) -> None:
        """Ask for what is missing when the prompt says so."""
        while True:
            await self._prompt.wait()
            _hurry(wishes)

    def _requested(self, forward: Forward) -> tuple[str, int]:
        """The address and port as B knows them."""
        return requested_address(forward), self.picked.get(forward, forward.port)

    async def _ask(self, wish: Wish) -> None:
        """For the first time over a leg."""
        try:
            await wish.ask()
        except Refused as error:
            if self._config.once and self._config.exit_on_forward_failure:
                raise
            self._not_published(str(error))
            wish.missing.set()

    def _taken(self, leg: ClientLeg, wishes: list[Wish], host: str, port: int) -> None:
        """B gave a service to another program with our key, or our key lost the right to it."""
        for wish in wishes:
            if wish.service() == (host, port) and not wish.missing.is_set():
                where = format_address(host or "*", port)
                text = (
                    f"{where}: taken back by the server: a program with the same key that was "
                    "started later has it, or the key may not publish it any more"
                )
                if self._config.once and self._config.exit_on_forward_failure:
                    leg.fail(Refused(text))
                    return
                self._not_published(text)
                wish.missing.set()

    def _not_published(self, reason: str) -> None:
        again = "" if self._config.once else "; it will be asked for again"
        self._log.error("not published", "{reason}", reason=f"{reason}{again}")

    def published(self, service: str, target: str) -> None:
        """Say what is news: not that all is again as it was before a leg was lost."""
        level = self._log.debug if service in self.said else self._log.info
        self.said.add(service)
        level("published", "{service} -> {target} published", service=service, target=target)


@dataclass(eq=False)
class Wish:
    """One thing that is to be published over one leg."""

    ask: Ask
    service: Callable[[], tuple[str, int]]
    """Its address and port, as B knows them."""
    missing: anyio.Event = field(default_factory=anyio.Event)
    """B has refused it, or given it away."""
    hurried: anyio.Event = field(default_factory=anyio.Event)
    """B says that it may be granted now."""

    async def keep(self) -> None:
        """Ask whenever it is missing until B grants it: soon at first, since who holds it may be on
        its way out. The leg and what else is published on it stay as they are.

        B's answer does not tell what it would always refuse from what it would grant later.
        """
        backoff = Backoff(random.random, longest=SLOW)
        asked_at = -math.inf
        while True:
            granted_at = anyio.current_time()
            await self.missing.wait()
            if anyio.current_time() - granted_at >= HELD:
                backoff.reset()
            while self.missing.is_set():
                with anyio.move_on_after(backoff.next()):
                    await self.hurried.wait()
                    # B may say so without end.
                    await anyio.sleep_until(asked_at + HURRIED)
                asked_at = anyio.current_time()
                # Before B is asked: it may say either right behind its answer.
                self.hurried, self.missing = anyio.Event(), anyio.Event()
                try:
                    await self.ask()
                except Refused:
                    self.missing.set()
                except LegLost:
                    return  # All are asked for again on the next.


def _hurry(wishes: list[Wish]) -> None:
    for wish in wishes:
        wish.hurried.set()


class Agent:
    """What is published over one leg."""

    def __init__(
        self,
        leg: ClientLeg,
        endpoint: SessionEndpoint | None,
        publisher: Publisher,
        permits: tuple[Permit, ...] | None,
        log: EventLog,
    ) -> None:
        """`permits` is PermitRemoteOpen."""
        self._leg = leg
        self._endpoint = endpoint
        self._publisher = publisher
        self._permits = permits
        self._log = log
        # By what B says in `forwarded-tcpip`: the address as we asked for it, and the port.
        self._targets: dict[tuple[str, int], tuple[Forward, Dial | SocksExit]] = {}
        leg.stream_handler = self._stream

    async def publish(self, forward: Forward) -> None:
        """Ask B for the service, and say so. Raises `Refused`."""
        bind = requested_address(forward)
        port = await self._ask(forward, bind)
        if port is None:
            raise refused(forward.bind or "localhost", forward.port)
        service = format_address(forward.bind or bind or "*", port)
        if not (is_address(bind) or self._leg.to_a_relay or service in self._publisher.said):
            text = "{service}: the server is no relay-server: an sshd knows no names, opens port "
            text += "{port} instead and ignores {name}"
            self._log.warning("name ignored", text, service=service, port=port, name=bind)
        self._publisher.published(service, forward.target)

    def _serve(self, forward: Forward, bind: str, port: int) -> None:
        """B has granted it, and streams for it may come right behind that answer."""
        service = format_address(forward.bind or bind or "*", port)
        self._targets[bind, port] = forward, self._dial(forward, service)

    async def _ask(self, forward: Forward, bind: str) -> int | None:
        """The port, None if refused. One that B picked for an earlier leg is known to clients."""
        picked = self._publisher.picked
        port: int | None = None
        serve = partial(self._serve, forward, bind)
        if forward in picked:
            port = await self._leg.publish(bind, picked[forward], serve)
        if port is None:
            port = await self._leg.publish(bind, forward.port, serve)
        if port is not None and not forward.port:
            picked[forward] = port
        return port

    def _dial(self, forward: Forward, service: str) -> Dial | SocksExit:
        """How the target of a stream is reached."""
        if forward.dynamic:
            return SocksExit(service, self._permits, self._log)
        if forward.target_path:
            return lambda: dial_unix(forward.target_path)
        return lambda: dial_service(forward.host, forward.hostport)

    async def publish_endpoint(self, endpoint: SessionEndpoint) -> None:
        """Publish the agent's own SSH server. Raises `Refused`."""
        name = endpoint.config.name
        port = endpoint.config.port
        if await self._leg.publish(name, port) is None:
            raise refused(name, port)
        self._publisher.published(format_address(name, port), "sessions end to end,")

    def _stream(self, host: str, port: int, origin_host: str, origin_port: int) -> object:
        endpoint = self._endpoint
        if endpoint is not None and (host, port) == (endpoint.config.name, endpoint.config.port):
            return endpoint.stream(self._leg, origin_host, origin_port)
        target = self._targets.get((host, port))
        if target is None:
            raise OpenRefused(
                OpenFailure.CONNECT_FAILED, f"{format_address(host, port)} is not published here"
            )
        forward, dial_target = target
        service = format_address(forward.bind or host or "*", port)
        origin = format_address(origin_host, origin_port)
        self._log.debug(
            "stream opened", "{service}: stream from {origin} to {target}",
            per=service, service=service, origin=origin, target=forward.target,
        )  # fmt: skip

        ended = log_end(
            self._log,
            "{service}: stream from {origin} to {target} closed, {received} bytes in, "
            "{sent} bytes out{why}",
            per=service, service=service, origin=origin, target=forward.target,
        )  # fmt: skip
        if isinstance(dial_target, SocksExit):
            return SocksStream(self._leg, dial_target, ended)
        joint = Endpoint(self._leg, ended)
        joint.serve(dial_target)
        return joint


def refused(name: str, port: int) -> Refused:
    """B's answer has no reason (RFC 4254 §7.1): these are all that it may have."""
    reasons = "it is held by another program, or this key may not publish it"
    if is_privileged(name, port):
        reasons += ", as every key without a permitlisten for this port below 1024"
    if name.startswith(SHARE_MARK):
        reasons += " or share it, which --share-services of the server and a permitlisten allow"
    return Refused(f"{format_address(name, port)}: refused by the server: {reasons}")


def requested_address(forward: Forward) -> str:
    """What ssh sends for `-R`'s bind address (RFC 4254 §7.1): `localhost` where none is given,
    the empty string for `*`."""
    if forward.bind is None:
        return "localhost"
    return "" if forward.bind == "*" else forward.bind
