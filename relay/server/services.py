"""What agents have published at B: who holds it, on which port, and who may open it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from relay.core.down import DownServices
from relay.core.forward import MAX_PORT, format_address
from relay.core.nearby import nearly
from relay.core.patterns import match_pattern
from relay.core.services import (
    Registry,
    Service,
    ServiceError,
    ServiceHeld,
    ServiceKey,
    ServiceRefusal,
    is_address,
    is_privileged,
    key_address,
    service_key,
    unmarked,
    wanted_key,
)
from relay.core.takeover import ANSWER_WITHIN, Verdict, judge
from relay.core.traffic import Traffic
from relay.core.waiting import WaitingList
from relay.errors import AddressError, Replaced
from relay.events import Events
from relay.events.server import (
    ServicePublished,
    ServiceRefused,
    ServiceTaken,
    ServiceWithdrawn,
)
from relay.observe.lines import duration
from relay.server.drain import Drain
from relay.server.held import HeldOpens
from relay.server.inside import Inside
from relay.server.routes import AgentRoute
from relay.server.totals import TrafficByName
from relay.settings.server import ServerSettings
from relay.ssh.listener import Listener
from relay.ssh.server import ServerLeg
from relay.wire.messages import forward_fields, service_refused
from relay.wire.numbers import ASK_AGAIN, SERVICE_REFUSED, SERVICE_TAKEN

AGENT_GONE: Final = "its agent is gone"
"""Why a service is held."""

DOES_NOT_ANSWER: Final = "the service behind it does not answer"


@dataclass(frozen=True, slots=True)
class Absent:
    """A service that is not published, of which B knows why."""

    name: str
    leg: ServerLeg
    """That of its agent, which is gone if the service is held."""
    since: float
    """In the loop's time."""
    state: str
    """`down`: it does not answer, says its agent. `held`: its agent is gone, and who opens it waits
    for that."""
    reason: str


class Services:
    """Publishes, withdraws, and finds the agent for a stream."""

    def __init__(
        self,
        config: ServerSettings,
        events: Events,
        held: HeldOpens,
        drain: Drain,
        limit_hit: Callable[[str], object],
        inside: Inside,
    ) -> None:
        self.config = config
        self._events = events
        self._held = held
        self._drain = drain
        self._hit = limit_hit
        self._inside = inside
        self._registry: Registry[ServerLeg] = Registry()
        # In step with the registry; the listeners of those with a port.
        self._routes: dict[Service[ServerLeg], AgentRoute] = {}
        self._listeners: dict[Service[ServerLeg], Listener] = {}
        # Of all streams that there were.
        self.traffic = Traffic()
        self.by_name = TrafficByName()
        # Agents of ours that were refused something; and who is being asked whether it is there.
        self._waiting: WaitingList[ServerLeg] = WaitingList()
        self._asked: set[ServerLeg] = set()
        # What agents have said of what they withdraw; nothing of it is published.
        self._down: DownServices[ServerLeg] = DownServices()
        # How many services each key has published; never 0.
        self._count_of: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[AgentRoute]:
        """The ways to all of them, as they are now."""
        return iter(tuple(self._routes.values()))

    def of(self, leg: ServerLeg) -> int:
        """How many this leg has published."""
        return len(self._registry.held_by(leg))

    def configure(self, config: ServerSettings) -> None:
        """Go on with this configuration."""
        self.config = config

    def close(self) -> None:
        """Close every open port."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    # -- publishing

    async def publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        """C's `tcpip-forward` (RFC 4254 §7.1). Returns the service's port, None if refused."""
        # Each turn either decides or has one holder less.
        while leg.alive:  # Else it vanished while its request waited: nobody would withdraw this.
            if refusal := self._forbids(leg, bind, port):
                self._refuse_service(leg, bind, port, refusal)
                return None
            held = self._take_over(leg, bind, port)
            if held is None:
                return self._publish(leg, bind, port)
            if await held.holder.answers(ANSWER_WITHIN):
                younger = f"{held} is held by {held.holder}, a younger program with this key"
                self._refuse_service(leg, bind, port, ServiceRefusal.YOUNGER, younger)
                return None
            self._replace(held.holder)
        return None

    def _publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        if self._count_of[leg.identity] >= self.config.limits.services_per_key:
            self._hit("services-per-key")
            self._tell_why(leg, ServiceRefusal.TOO_MANY)
            return None
        try:
            service = self._enter(leg, bind, port)
        except (ServiceError, AddressError) as error:
            refusal = ServiceRefusal.UNUSABLE
            if isinstance(error, ServiceHeld):
                own = error.service.holder is leg
                refusal = ServiceRefusal.TWICE if own else ServiceRefusal.HELD
            self._refuse_service(leg, bind, port, refusal, str(error))
            return None
        self._waiting.remove(leg, bind, port)
        self._down.end(service_key(service.bind, service.port))
        self._held.published(service)
        self._events.emit(ServicePublished(str(service), leg.name))
        return service.port

    def _forbids(self, leg: ServerLeg, bind: str, port: int) -> ServiceRefusal | None:
        """Why a leg may not publish this; None: it may."""
        name = unmarked(bind)
        if leg.entry is None or not leg.entry.grant.may_publish(name, port):
            none = leg.entry is not None and not leg.entry.grant.port_forwarding
            return ServiceRefusal.NO_FORWARDING if none else ServiceRefusal.NO_RIGHT
        if port > MAX_PORT:
            return ServiceRefusal.NO_PORT
        if self._inside.find(name, port) is not None:
            return ServiceRefusal.INSIDE
        if (
            is_privileged(name, port)
            and self.config.privileged_ports == "no"
            and not leg.entry.grant.may_publish_privileged(name, port)
        ):
            return ServiceRefusal.PRIVILEGED
        where = format_address(name, port)
        shareable = any(match_pattern(where, pattern) for pattern in self.config.share_services)
        if name != bind and not shareable:
            return ServiceRefusal.NOT_SHARED
        if name != bind and not leg.entry.grant.may_share(name, port):
            return ServiceRefusal.MAY_NOT_SHARE
        if self._drain.begun:
            return ServiceRefusal.STOPPING
        return None

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
        named = self.by_name.begin(str(service))
        route = self._routes[service] = AgentRoute(service, self.traffic, named)
        if listener is not None:
            self._listeners[service] = listener
            listener.traffics = route.traffics
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
            self._tell_taken(held, ServiceRefusal.YOUNGER)
            if older.alive and older not in self._asked:
                self._asked.add(older)
                older.create_task(self._replace_if_silent(older))
        return None

    def _tell_taken(self, service: Service[ServerLeg], why: ServiceRefusal) -> None:
        """Who held it shall know, and is told when it may be granted again."""
        leg, bind, port = service.holder, service.bind, service.port
        if leg.is_ours:
            self._tell_why(leg, why)
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
        self._held.forget(_authorized)
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
        self._down.forget(leg)
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
        self._down.forget(leg)
        for service in self._registry.held_by(leg):
            if refusal := self._forbids(leg, service.bind, service.port):
                self._registry.withdraw(service)
                self._close(service, str(refusal))
                self._tell_taken(service, refusal)

    def _refuse_service(
        self, leg: ServerLeg, bind: str, port: int, refusal: ServiceRefusal, text: str = ""
    ) -> None:
        """`text` says more than the refusal, and is for B's operator: it names who holds it."""
        if leg.is_ours:
            self._waiting.add(leg, bind, port, self.config.limits.services_per_key)
            # Of what cannot be the text speaks of this request alone.
            self._tell_why(leg, refusal, text if refusal is ServiceRefusal.UNUSABLE else "")
        service = format_address(bind, port)
        self._events.emit(ServiceRefused(service, leg.name, refusal.name, text or str(refusal)))

    def _tell_why(self, leg: ServerLeg, refusal: ServiceRefusal, text: str = "") -> None:
        """An agent of ours hears why, before it hears no."""
        if leg.is_ours:
            leg.tell(SERVICE_REFUSED, service_refused(refusal.name, text or str(refusal)))

    def withdraw(self, leg: ServerLeg, bind: str, port: int) -> bool:
        """C's `cancel-tcpip-forward`. Streams that are open go on."""
        for service in self._registry.all_at(bind, port):
            if service.holder is leg:
                self._registry.withdraw(service)
                down = self._down.get(service_key(bind, port))
                why = f" ({DOES_NOT_ANSWER}: {down.reason})" if down and down.teller is leg else ""
                self._close(service, f"by its agent{why}")
                return True
        return False

    def service_down(
        self, leg: ServerLeg, bind: str, port: int, seconds: float, reason: str
    ) -> None:
        """C is about to withdraw a service: its visitors shall know why. Said of what this leg has
        not published it is nothing: it would speak of others' services."""
        if any(service.holder is leg for service in self._registry.all_at(bind, port)):
            now = asyncio.get_running_loop().time()
            key = service_key(bind, port)
            self._down.say(key, leg, leg.identity, reason, seconds, now)

    def end(self, route: AgentRoute, reason: str) -> None:
        """Take a service from its agent, who may ask for it again. Streams that are open go on."""
        self._registry.withdraw(route.service)
        self._close(route.service, reason)
        self._tell_taken(route.service, ServiceRefusal.TAKEN_AWAY)

    def _close(self, service: Service[ServerLeg], reason: str) -> None:
        """It is withdrawn from the registry."""
        route = self._routes.pop(service)
        self.by_name.end(route.name, route.traffics[-1])
        identity = service.holder.identity
        self._count_of[identity] -= 1
        if not self._count_of[identity]:
            del self._count_of[identity]
        listener = self._listeners.pop(service, None)
        if listener is not None:
            listener.close()
        bind, port = service.bind, service.port
        key = service_key(bind, port)
        down = self._down.get(key)
        if down is not None and down.teller is not service.holder:
            # It is the last one's word that counts: this one may be back in a moment.
            self._down.end(key)
        if self._waiting.waiting_for(bind, port) and not self._drain.begun:
            asyncio.get_running_loop().call_soon(self._tell_waiting, bind, port)
        self._events.emit(ServiceWithdrawn(str(service), service.holder.name, reason))

    # -- finding, as a `Directory`

    def routes(self, host: str, port: int) -> list[AgentRoute]:
        return [self._routes[service] for service in self._registry.find_all(host, port)]

    def down(self, host: str, port: int) -> str:
        key = wanted_key(host, port)
        down = self._down.get(key) if key is not None else None
        if down is None:
            return ""
        since = duration(asyncio.get_running_loop().time() - down.since)
        return f"{DOES_NOT_ANSWER} ({down.reason}, since {since})"

    def nearly(self, host: str, port: int) -> Iterator[ServiceKey]:
        key = wanted_key(host, port)
        return filter(self._registry.has, nearly(key) if key is not None else ())

    def absent(self) -> Iterator[Absent]:
        """Those that are down, and those that are held."""
        for key, down in self._down:
            holders = self._registry.all_at(*key)
            if not any(one.holder is down.teller for one in holders):  # It is about to withdraw it.
                yield Absent(key_address(key), down.teller, down.since, "down", down.reason)
        for key, leg, since in self._held.missed():
            if not self._registry.all_at(*key):
                yield Absent(key_address(key), leg, since, "held", AGENT_GONE)

    def missed(self, host: str, port: int) -> None:
        for service in self._registry.find_all(host, port)[:1]:
            self._miss(service)

    def _miss(self, service: Service[ServerLeg]) -> None:
        """The leg of its agent is gone: who opens it now waits until it is back."""
        others = self._registry.all_at(service.bind, service.port)
        if not any(other.holder.alive for other in others):
            self._held.lost(service)


def _authorized(leg: ServerLeg) -> bool:
    """Would the client of this leg be let in again?"""
    return leg.judge(leg.host.key_file.keys(), datetime.now(UTC)) is None
