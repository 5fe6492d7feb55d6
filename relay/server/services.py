"""What agents have published at B: who holds it, on which port, and who may open it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from relay.core.forward import MAX_PORT, format_address
from relay.core.hold import Hold
from relay.core.patterns import match_pattern
from relay.core.services import (
    GOODBYE,
    NOT_PUBLISHED,
    Registry,
    Service,
    ServiceError,
    ServiceHeld,
    is_address,
    is_privileged,
    service_key,
    unmarked,
    wanted_key,
)
from relay.core.takeover import ANSWER_WITHIN, Verdict, judge
from relay.core.waiting import WaitingList
from relay.errors import AddressError, Replaced
from relay.events import Events
from relay.events.server import (
    ServicePublished,
    ServiceRefused,
    ServiceTaken,
    ServiceWithdrawn,
    StreamHeld,
    StreamRefused,
)
from relay.server.config import ServerConfig
from relay.server.held import HeldOpen
from relay.server.splices import SplicedStream
from relay.ssh.handler import ChannelHandler, OpenRefused
from relay.ssh.listener import Listener
from relay.ssh.server import ServerLeg
from relay.wire.messages import forward_fields, tcpip_fields
from relay.wire.numbers import ASK_AGAIN, PRIVATE_FAILURES, SERVICE_TAKEN, OpenFailure


class Services:
    """Publishes, withdraws, and finds the agent for a stream."""

    def __init__(
        self, config: ServerConfig, events: Events, limit_hit: Callable[[str], object]
    ) -> None:
        self.config = config
        self._events = events
        self._hit = limit_hit
        # Set by `drain`: nothing new is published or opened.
        self.draining = False
        self._registry: Registry[ServerLeg] = Registry()
        self._listeners: dict[Service[ServerLeg], Listener] = {}
        self._open_streams: Counter[Service[ServerLeg]] = Counter()
        # Agents of ours that were refused something; and who is being asked whether it is there.
        self._waiting: WaitingList[ServerLeg] = WaitingList()
        self._asked: set[ServerLeg] = set()
        # Opens that wait for a service whose agent is away, and when the next of them end.
        self._hold: Hold[ServerLeg, HeldOpen] = Hold(config.hold)
        self._hold_ends: asyncio.TimerHandle | None = None
        # How many services each key has published; never 0.
        self._count_of: Counter[bytes] = Counter()

    def configure(self, config: ServerConfig) -> None:
        """Go on with this configuration."""
        self.config = config
        self._hold.seconds = config.hold
        self._end_hold()

    @property
    def published(self) -> int:
        """How many services there are."""
        return len(self._registry)

    @property
    def streams(self) -> int:
        """How many streams to them are open."""
        return self._open_streams.total()

    def drain(self) -> None:
        """Take nothing new."""
        self.draining = True
        self._try_again(self._hold.stop())
        self.close()

    def close(self) -> None:
        """Close every open port."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        if self._hold_ends is not None:
            self._hold_ends.cancel()

    # -- publishing

    async def publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        """C's `tcpip-forward` (RFC 4254 §7.1). Returns the service's port, None if refused."""
        # Each turn either decides or has one holder less.
        while leg.alive:  # Else it vanished while its request waited: nobody would withdraw this.
            reason = self._forbids(leg, bind, port)
            if reason:
                self._refuse_service(leg, bind, port, reason)
                return None
            held = self._take_over(leg, bind, port)
            if held is None:
                return self._publish(leg, bind, port)
            if await held.holder.answers(ANSWER_WITHIN):
                younger = f"{held} is held by {held.holder}, a younger program with this key"
                self._refuse_service(leg, bind, port, younger)
                return None
            self._replace(held.holder)
        return None

    def _publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        if self._count_of[leg.identity] >= self.config.limits.services_per_key:
            self._hit("services-per-key")
            return None
        try:
            service = self._enter(leg, bind, port)
        except (ServiceError, AddressError) as error:
            self._refuse_service(leg, bind, port, str(error))
            return None
        self._waiting.remove(leg, bind, port)
        # Later: the agent hears first that it is published.
        held = self._hold.end(service_key(bind, service.port))
        asyncio.get_running_loop().call_soon(self._try_again, held)
        self._events.emit(ServicePublished(str(service), leg.name))
        return service.port

    def _forbids(self, leg: ServerLeg, bind: str, port: int) -> str:
        """Why a leg may not publish this; empty: it may."""
        name = unmarked(bind)
        if leg.entry is None or not leg.entry.grant.may_publish(name, port):
            return "its key may not publish it"
        if port > MAX_PORT:
            return "there is no such port"
        if (
            is_privileged(name, port)
            and self.config.privileged_ports == "no"
            and not leg.entry.grant.may_publish_privileged(name, port)
        ):
            return "no permitlisten of its key has this port below 1024 (--privileged-ports)"
        where = format_address(name, port)
        shareable = any(match_pattern(where, pattern) for pattern in self.config.share_services)
        if name != bind and not shareable:
            return "services of this name are not shared here (--share-services)"
        if name != bind and not leg.entry.grant.may_share(name, port):
            return "no permitlisten of its key names it, which sharing needs"
        if self.draining:
            return GOODBYE
        return ""

    def _enter(self, leg: ServerLeg, bind: str, port: int) -> Service[ServerLeg]:
        """Enter a service, and open its port if it is one with a port. Raises `ServiceError` and
        `AddressError`."""
        listener: Listener | None = None
        if is_address(bind):
            held = self._registry.at(bind, port)
            if held is not None:
                raise ServiceHeld(held)
            listener = Listener(leg, bind, port, self.config.gateway_ports, self._events)
            port = listener.port
        try:
            service = self._registry.publish(bind, port, leg)
        except ServiceError:
            if listener is not None:
                listener.close()
            raise
        if listener is not None:
            self._listeners[service] = listener
        self._count_of[leg.identity] += 1
        return service

    def _take_over(self, leg: ServerLeg, bind: str, port: int) -> Service[ServerLeg] | None:
        """Let this leg have what another one of its key holds, by the rules of `takeover`. Returns
        a service whose holder must be asked first."""
        for held in self._registry.all_at(bind, port):
            older = held.holder
            if older is leg or older.identity != leg.identity:
                continue
            verdict = judge(leg.program, older.program)
            if verdict is Verdict.WAITS and older.alive:
                return held
            self._events.emit(ServiceTaken(str(held), leg.name, older.name))
            if verdict is Verdict.RETURNS:
                self._replace(older)
                continue
            self._registry.withdraw(held)
            self._close(held, "taken over")
            self._tell_taken(held)
            if older.alive and older not in self._asked:
                self._asked.add(older)
                older.create_task(self._replace_if_silent(older))
        return None

    def _tell_taken(self, service: Service[ServerLeg]) -> None:
        """Who held it shall know, and is told when it may be granted again."""
        leg, bind, port = service.holder, service.bind, service.port
        if leg.is_ours:
            leg.tell(SERVICE_TAKEN, forward_fields(bind, port))
            self._waiting.add(leg, bind, port, self.config.limits.services_per_key)

    async def _replace_if_silent(self, older: ServerLeg) -> None:
        try:
            if not await older.answers(ANSWER_WITHIN):
                self._replace(older)
        finally:
            self._asked.discard(older)

    def _replace(self, older: ServerLeg) -> None:
        """Close a leg that is dead, though B has not noticed: it must not keep its owner out."""
        self.withdraw_all(older, "taken over")
        older.fail(Replaced("taken over by a newer connection with the same key"))

    def keys_changed(self) -> None:
        """Everybody who is here has been judged by authorized_keys as it is now."""
        self._try_again(self._hold.forget(_authorized))
        self.ask_again()

    def ask_again(self) -> None:
        """What was refused may be granted now: tell those who know what to do about it."""
        for leg in self._waiting.everybody():
            leg.tell(ASK_AGAIN)

    def _tell_waiting(self, bind: str, port: int) -> None:
        """This service was given up. Is it free, now that all is done that came with that?"""
        if not self._registry.all_at(bind, port):
            for leg in self._waiting.waiting_for(bind, port):
                leg.tell(ASK_AGAIN)

    def leg_down(self, leg: ServerLeg) -> None:
        """It is gone, and with it what it published."""
        self._waiting.forget(leg)
        self.withdraw_all(leg, "its leg is down")

    def withdraw_all(self, leg: ServerLeg, reason: str) -> None:
        """Everything of this leg, which is gone. Streams that are open go on."""
        services = self._registry.withdraw_all(leg)
        returns = bool(services) and _authorized(leg)
        for service in services:
            self._close(service, reason)
            if returns:
                self._miss(service)

    def withdraw_forbidden(self, leg: ServerLeg) -> None:
        """What the key of this leg may not publish any more. Streams that are open go on."""
        for service in self._registry.held_by(leg):
            if reason := self._forbids(leg, service.bind, service.port):
                self._registry.withdraw(service)
                self._close(service, reason)
                self._tell_taken(service)

    def _refuse_service(self, leg: ServerLeg, bind: str, port: int, reason: str) -> None:
        if leg.is_ours:
            self._waiting.add(leg, bind, port, self.config.limits.services_per_key)
        self._events.emit(ServiceRefused(format_address(bind, port), leg.name, reason))

    def withdraw(self, leg: ServerLeg, bind: str, port: int) -> bool:
        """C's `cancel-tcpip-forward`. Streams that are open go on."""
        for service in self._registry.all_at(bind, port):
            if service.holder is leg:
                self._registry.withdraw(service)
                self._close(service, "by its agent")
                return True
        return False

    def _close(self, service: Service[ServerLeg], reason: str) -> None:
        """It is withdrawn from the registry."""
        identity = service.holder.identity
        self._count_of[identity] -= 1
        if not self._count_of[identity]:
            del self._count_of[identity]
        listener = self._listeners.pop(service, None)
        if listener is not None:
            listener.close()
        bind, port = service.bind, service.port
        if self._waiting.waiting_for(bind, port) and not self.draining:
            asyncio.get_running_loop().call_soon(self._tell_waiting, bind, port)
        self._events.emit(ServiceWithdrawn(str(service), service.holder.name, reason))

    # -- streams

    def open_stream(
        self, leg: ServerLeg, host: str, port: int, origin_host: str, origin_port: int
    ) -> ChannelHandler:
        """A's `direct-tcpip` (RFC 4254 §7.2): a splice to the agent that holds the service.

        B never dials anything itself: a relay is no open proxy.
        """
        wanted = format_address(host, port)
        entry = leg.entry
        if entry is None or not entry.grant.may_open(host, port):
            raise self._refuse_stream(
                leg, wanted, OpenFailure.ADMINISTRATIVELY_PROHIBITED, "this key may not open it"
            )
        if self.draining:
            raise self._refuse_stream(leg, wanted, OpenFailure.STOPPING, GOODBYE)
        found = self._registry.find_all(host, port)
        services = [one for one in found if one.holder.alive]
        if not services:
            if found:
                self._miss(found[0])  # Its leg is about to be gone.
            again = partial(self.open_stream, leg, host, port, origin_host, origin_port)
            return self._hold_open(leg, host, port, again)
        # Of several that share it, who has the fewest open streams; of these, the longest there.
        service = min(services, key=self._open_streams.__getitem__)
        holder = service.holder
        if leg.full() or holder.full(serving=True) or holder.full_for(leg.identity):
            text = f"{wanted}: there are too many streams already"
            raise OpenRefused(OpenFailure.RESOURCE_SHORTAGE, text)
        # Where it comes from, as B has seen it: A may say what it likes, and an agent's endpoint
        # counts strangers by it.
        fields = tcpip_fields(service.bind, service.port, *leg.origin)
        return SplicedStream(leg, service, fields, self._events, self._open_streams).ends[0]

    # -- opens that wait

    def _miss(self, service: Service[ServerLeg]) -> None:
        """The leg of its agent is gone: who opens it now waits until it is back."""
        if any(other.holder.alive for other in self._registry.all_at(service.bind, service.port)):
            return
        now, holder = asyncio.get_running_loop().time(), service.holder
        key = service_key(service.bind, service.port)
        self._hold.lost(key, holder, now, holder.identity)
        self._await_end()

    def _hold_open(
        self, leg: ServerLeg, host: str, port: int, again: Callable[[], ChannelHandler]
    ) -> HeldOpen:
        """For a service that is not published: wait for it, if it was a moment ago. Raises
        `OpenRefused`."""
        key = wanted_key(host, port)
        wanted = format_address(host, port)
        now, whose = asyncio.get_running_loop().time(), leg.identity
        if key is None or not self._hold.takes(key, now, whose):
            raise self._refuse_stream(leg, wanted, OpenFailure.NOT_PUBLISHED, NOT_PUBLISHED)
        if leg.full():
            text = f"{wanted}: there are too many streams already"
            raise OpenRefused(OpenFailure.RESOURCE_SHORTAGE, text)
        self._events.emit(StreamHeld(wanted, leg.name))
        waits = partial(self._hold.wait, key, whose=whose)
        return HeldOpen(leg, again, waits, self._hold.leave)

    def _try_again(self, held: list[HeldOpen]) -> None:
        """Pass them on to the service, or refuse them if it is not there."""
        for one in held:
            one.try_again()

    def _end_hold(self) -> None:
        """Whose time is over?"""
        if self._hold_ends is not None:
            self._hold_ends.cancel()
            self._hold_ends = None
        self._try_again(self._hold.expire(asyncio.get_running_loop().time()))
        self._await_end()

    def _await_end(self) -> None:
        due = self._hold.due()
        if self._hold_ends is None and due is not None:
            self._hold_ends = asyncio.get_running_loop().call_at(due, self._end_hold)

    def _refuse_stream(
        self, leg: ServerLeg, wanted: str, code: OpenFailure, reason: str
    ) -> OpenRefused:
        self._events.emit(StreamRefused(wanted, leg.name, code, reason, inner=False))
        if code >= PRIVATE_FAILURES and not leg.is_ours:
            code = OpenFailure.CONNECT_FAILED
        return OpenRefused(code, f"{wanted}: {reason}")


def _authorized(leg: ServerLeg) -> bool:
    """Would the client of this leg be let in again?"""
    return leg.judge(leg.host.key_file.keys(), datetime.now(UTC)) is None
