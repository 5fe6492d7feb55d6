"""B itself: its legs, what they have published, and what they may do."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import replace
from typing import Final

import anyio

from relay.errors import AddressError, Replaced
from relay.log import EventLog
from relay.policy.forward import MAX_PORT, format_address
from relay.policy.patterns import match_pattern
from relay.policy.services import (
    NOT_PUBLISHED,
    Registry,
    Service,
    ServiceError,
    ServiceHeld,
    is_address,
    unmarked,
)
from relay.server.config import FIXED, ServerConfig, changes
from relay.server.legs import Legs
from relay.server.splices import SplicedStream
from relay.ssh.handler import OpenRefused
from relay.ssh.hostkeys import HostIdentity
from relay.ssh.keyfile import KeyFile
from relay.ssh.limiter import Limiter, hung_up, turn_away
from relay.ssh.listener import Listener
from relay.ssh.server import ServerLeg, server_options
from relay.ssh.stream import Flusher
from relay.wire.messages import tcpip_fields
from relay.wire.numbers import OpenFailure

GOODBYE: Final = "the relay is stopping"


class Relay:
    """The state of B. Everything in it belongs to one event loop."""

    def __init__(self, config: ServerConfig, host_keys: list[HostIdentity], log: EventLog) -> None:
        self.log = log
        path = config.authorized_keys or config.state_dir / "authorized_keys"
        self.key_file = KeyFile(path, log)
        self.key_file.keys()  # Its problems are told now, not at the first login.
        self._registry: Registry[ServerLeg] = Registry()
        self._listeners: dict[Service[ServerLeg], Listener] = {}
        self._open_streams: Counter[Service[ServerLeg]] = Counter()
        # Connections of sources that try too fast: they hear nothing of us yet.
        self._held_back: dict[socket.socket, asyncio.TimerHandle] = {}
        self._limiter = Limiter(log)
        self.legs = Legs(self._limiter, log)
        # Set when no leg is left; None: we do not stop yet.
        self._drained: anyio.Event | None = None
        self._host_keys = host_keys
        self._apply(config)

    # -- configuration

    def configure(self, config: ServerConfig) -> None:
        """Go on with another configuration, as far as that is possible."""
        differences = changes(self.config, config)
        for name, before, after, live in differences:
            self.log.info(
                "configuration changed" if live else "configuration kept",
                "{name}: {before} -> {after}" if live else "{name} stays {before} until restarted",
                name=name, before=before, after=after,
            )  # fmt: skip
        if not differences:
            self.log.info("configuration unchanged", "configuration read again: nothing changed")
        self._apply(replace(config, **{name: getattr(self.config, name) for name in FIXED}))
        self.key_file.keys()

    def _apply(self, config: ServerConfig) -> None:
        self.config = config
        limits = config.limits
        self._limiter.limits = limits
        self._options = server_options(
            self._host_keys, config.ciphers, limits.login_grace_time,
            config.client_alive_interval, config.client_alive_count_max,
        )  # fmt: skip
        flusher = Flusher.here()
        flusher.waiting_limit = limits.waiting_per_process
        flusher.poll.limit(config.busy_poll)
        self.legs.configure(config)

    def report_limits(self) -> None:
        """To be called once a minute: tells which limits are hit again and again."""
        self._limiter.report()
        self.legs.forget_refusals()

    def status(self) -> str:
        """For the supervisor."""
        legs = len(self.legs) - len(self.legs.strangers)
        streams = self._open_streams.total()
        return f"{legs} legs, {len(list(self._registry))} services, {streams} streams"

    # -- legs

    def accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """A connection came: it is a leg once it has logged in."""
        strangers = len(self.legs.strangers) + len(self._held_back)
        if strangers >= self.config.limits.max_startups.begin:
            strangers -= self._drop_gone()
        refusal = self._limiter.refuse_connection(address[0], strangers)
        if refusal:
            turn_away(sock, refusal)
        elif delay := self._limiter.delay(address[0]):
            loop = asyncio.get_running_loop()
            self._held_back[sock] = loop.call_later(delay, self._begin, sock, address)
        else:
            self._begin(sock, address)

    def _drop_gone(self) -> int:
        """Forget the held back connections whose clients did not wait; nobody reads those, so that
        they would stand in the way of others until their turn came. Returns how many they were."""
        gone = hung_up(self._held_back)
        for sock in gone:
            self._held_back.pop(sock).cancel()
            sock.close()
        return len(gone)

    def _begin(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """Speak with whoever is there."""
        self._held_back.pop(sock, None)
        leg = ServerLeg(asyncio.get_running_loop(), self._options)
        leg.introduce(self, address)
        self.legs.add(leg)
        try:
            leg.attach(sock)
        except OSError:  # It was reset before it was accepted.
            self.legs.discard(leg)
            sock.close()

    def leg_up(self, leg: ServerLeg) -> None:
        """A client has logged in."""
        self.legs.up(leg)

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        """A connection is gone, and with it what it published."""
        self._withdraw_all(leg, "its leg is down")
        self.legs.down(leg, error)
        if self._drained is not None and not self.legs:
            self._drained.set()

    def stranger_line(self, leg: ServerLeg) -> bool:
        """May there be a line about a client that has not logged in?"""
        return self._limiter.stranger_line(leg.address)

    # -- services

    def publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        """C's `tcpip-forward` (RFC 4254 §7.1). Returns the service's port, None if refused."""
        if not leg.alive:
            return None  # It vanished while its request waited: nobody would withdraw this.
        wanted = format_address(bind, port)
        reason = self._forbids(leg, bind, port)
        if reason:
            self._refuse_service(leg, wanted, reason)
            return None
        self._take_over(leg, bind, port)
        if self._services_of(leg) >= self.config.limits.services_per_key:
            self._limiter.hit("services-per-key")
            return None
        try:
            service = self._enter(leg, bind, port)
        except (ServiceError, AddressError) as error:
            self._refuse_service(leg, wanted, str(error))
            return None
        self.log.info(
            "service published", "{service} published by {leg}",
            service=str(service), leg=str(leg),
        )  # fmt: skip
        return service.port

    def _forbids(self, leg: ServerLeg, bind: str, port: int) -> str:
        """Why a leg may not publish this; empty: it may."""
        name = unmarked(bind)
        if leg.entry is None or not leg.entry.grant.may_publish(name, port):
            return "its key may not publish it"
        if port > MAX_PORT:
            return "there is no such port"
        where = format_address(name, port)
        shareable = any(match_pattern(where, pattern) for pattern in self.config.share_services)
        if name != bind and not shareable:
            return "services of this name are not shared here (--share-services)"
        if self._drained is not None:
            return GOODBYE
        return ""

    def _services_of(self, leg: ServerLeg) -> int:
        """How many services the key of this leg has published."""
        return sum(service.holder.identity == leg.identity for service in self._registry)

    def _enter(self, leg: ServerLeg, bind: str, port: int) -> Service[ServerLeg]:
        """Enter a service, and open its port if it is one with a port."""
        if not is_address(bind):
            return self._registry.publish(bind, port, leg)
        held = self._registry.at(bind, port)
        if held is not None:
            raise ServiceHeld(held)
        listener = Listener(leg, bind, port, self.config.gateway_ports, self.log)
        try:
            service = self._registry.publish(bind, listener.port, leg)
        except ServiceError:
            listener.close()
            raise
        self._listeners[service] = listener
        return service

    def _take_over(self, leg: ServerLeg, bind: str, port: int) -> None:
        """The same key comes back for what an older leg of its own holds: that leg is dead,
        though B may not have noticed, and must not keep its owner out."""
        for held in self._registry.all_at(bind, port):
            older = held.holder
            if older is leg or older.identity != leg.identity:
                continue
            self.log.info(
                "leg replaced", "{service}: {leg} takes over from {older}",
                service=str(held), leg=str(leg), older=str(older),
            )  # fmt: skip
            self._withdraw_all(older, "taken over")
            older.fail(Replaced("taken over by a newer connection with the same key"))

    def _withdraw_all(self, leg: ServerLeg, reason: str) -> None:
        for service in self._registry.withdraw_all(leg):
            self._close(service, reason)

    def _refuse_service(self, leg: ServerLeg, wanted: str, reason: str) -> None:
        if leg.may_tell():
            self.log.warning(
                "service refused", "{service} refused to {leg}: {reason}",
                service=wanted, leg=str(leg), reason=reason,
            )  # fmt: skip

    def withdraw(self, leg: ServerLeg, bind: str, port: int) -> bool:
        """C's `cancel-tcpip-forward`. Streams that are open go on."""
        for service in self._registry.all_at(bind, port):
            if service.holder is leg:
                self._registry.withdraw(service)
                self._close(service, "by its agent")
                return True
        return False

    def _close(self, service: Service[ServerLeg], reason: str) -> None:
        listener = self._listeners.pop(service, None)
        if listener is not None:
            listener.close()
        self.log.info(
            "service withdrawn", "{service} withdrawn: {reason}",
            service=str(service), reason=reason,
        )  # fmt: skip

    # -- streams

    def open_stream(
        self, leg: ServerLeg, host: str, port: int, origin_host: str, origin_port: int
    ) -> object:
        """A's `direct-tcpip` (RFC 4254 §7.2): a splice to the agent that holds the service.

        B never dials anything itself: a relay is no open proxy.
        """
        wanted = format_address(host, port)
        entry = leg.entry
        if entry is None or not entry.grant.may_open(host, port):
            raise self._refuse_stream(leg, wanted, "this key may not open it", permitted=False)
        if self._drained is not None:
            raise self._refuse_stream(leg, wanted, GOODBYE)
        services = [one for one in self._registry.find_all(host, port) if one.holder.alive]
        if not services:
            raise self._refuse_stream(leg, wanted, NOT_PUBLISHED)
        # Of several that share it, who has the fewest open streams; of these, the longest there.
        service = min(services, key=self._open_streams.__getitem__)
        if leg.full() or service.holder.full(serving=True):
            text = f"{wanted}: there are too many streams already"
            raise OpenRefused(OpenFailure.RESOURCE_SHORTAGE, text)
        fields = tcpip_fields(service.bind, service.port, origin_host, origin_port)
        return SplicedStream(leg, service, fields, self.log, self._open_streams).ends[0]

    def _refuse_stream(
        self, leg: ServerLeg, wanted: str, reason: str, *, permitted: bool = True
    ) -> OpenRefused:
        if leg.may_tell():
            self.log.warning(
                "stream refused", "{service} refused to {leg}: {reason}",
                service=wanted, leg=str(leg), reason=reason,
            )  # fmt: skip
        code = (
            OpenFailure.CONNECT_FAILED if permitted
            else OpenFailure.ADMINISTRATIVELY_PROHIBITED
        )  # fmt: skip
        return OpenRefused(code, f"{wanted}: {reason}")

    # -- its end

    async def drain(self) -> None:
        """Take nothing new, and wait until every stream is over. A leg is told to go as soon as
        it has none: its client can look for another relay."""
        self._drained = anyio.Event()
        for sock, timer in self._held_back.items():
            timer.cancel()
            sock.close()
        self._held_back.clear()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        loop = asyncio.get_running_loop()
        busy = [leg for leg in self.legs if leg.handlers]
        if busy:
            self.log.info(
                "draining", "stopping: {legs} legs have open streams, for at most {seconds:g} s",
                legs=len(busy), seconds=self.config.drain,
            )  # fmt: skip
        for leg in self.legs:
            if leg.handlers:
                # Later: the leg is in the middle of the packet that made it idle.
                leg.when_idle = lambda idle: loop.call_soon(idle.dismiss, GOODBYE)
            else:
                leg.dismiss(GOODBYE)
        if self.legs:
            await self._drained.wait()

    def close(self) -> None:
        """Close every leg and every open port."""
        self._limiter.report()
        for leg in self.legs:
            leg.dismiss(GOODBYE)
        for listener in self._listeners.values():
            listener.close()
