"""B itself: its legs, what they have published, and what they may do."""

from __future__ import annotations

import socket

from relay.core.handler import ChannelHandler
from relay.core.services import GOODBYE
from relay.events import Events
from relay.events.server import SettingChanged
from relay.io.descriptors import scarce
from relay.io.engine import Engine
from relay.life.admission import Admission, Startup, turn_away
from relay.observe.faults import whatever_fails
from relay.server.counters import Counters
from relay.server.drain import Drain
from relay.server.held import HeldOpens
from relay.server.inside import Inside
from relay.server.reading import Reading, read
from relay.server.routing import Router
from relay.server.services import Services
from relay.settings.option import changes, kept
from relay.settings.server import ServerSettings
from relay.ssh.judge import Judge
from relay.ssh.legs import Legs
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from relay.trust.hostkeys import HostIdentity
from relay.trust.keyfile import KeyFile
from relay.wire.messages import service_state


class Relay:
    """The state of B. Everything in it belongs to one event loop."""

    def __init__(
        self, config: ServerSettings, host_keys: list[HostIdentity], events: Events, engine: Engine
    ) -> None:
        self.events = events
        self._engine = engine
        path = config.authorized_keys or config.state_dir / "authorized_keys"
        self.counters = Counters()
        events.subscribe(self.counters)
        self.key_file = KeyFile(path, events, strict=config.strict_modes == "yes")
        self.key_file.keys()  # Its problems are told now, not at the first login.
        self._admission = Admission(events)
        self.legs = Legs(self._admission, events)
        self._drain = Drain(self.legs, events)
        self._held = HeldOpens(config.hold)
        # What is reached in this process.
        self.inside = Inside()
        self.services = Services(
            config, events, self._held, self._drain, self._admission.hit, self.inside
        )
        self._router = Router(self.services, self._held, self._drain, events, self.inside)
        self.judge = Judge(
            self.key_file,
            events,
            self.legs,
            self.services.withdraw_forbidden,
            self.services.keys_changed,
        )  # fmt: skip
        self._host_keys = host_keys
        self._apply(config)

    # -- configuration

    def configure(self, config: ServerSettings) -> None:
        """Go on with another configuration, as far as that is possible."""
        differences = changes(self.config, config)
        for name, before, after, live in differences:
            self.events.emit(SettingChanged(name, before, after, live))
        if not differences:
            text = "configuration read again: nothing changed"
            self.events.note("info", "configuration unchanged", text)
        self._apply(kept(self.config, config))
        self.key_file.set_strict(config.strict_modes == "yes")
        self.services.ask_again()
        self.judge.ask()

    def _apply(self, config: ServerSettings) -> None:
        self.config = config
        limits = config.limits
        self._admission.limits = limits
        self.services.configure(config)
        self._held.configure(config.hold)
        self._options = server_options(
            self._host_keys, config.ciphers, limits.login_grace_time,
            config.client_alive_interval, config.client_alive_count_max,
        )  # fmt: skip
        self._engine.waiting_limit = limits.waiting_per_process
        self._engine.poll.limit(config.busy_poll)
        self.legs.configure(limits, config.rekey_limit)

    def status(self) -> str:
        """For the supervisor."""
        legs = self.legs.logged_in
        services = self.services
        return f"{legs} legs, {len(services)} services, {services.traffic.open} streams"

    @property
    def waiting(self) -> int:
        """Bytes that wait for legs, in all."""
        return self._engine.waiting

    @property
    def draining(self) -> bool:
        """It is about to end, and takes nothing new."""
        return self._drain.begun

    async def reading(self) -> Reading:
        """The streams that are open; the traffic of legs and services is that of now."""
        return await read(self.legs)

    # -- legs

    def accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """A connection came: it is a leg once it has its turn."""
        self._admission.admit(
            address[0],
            lambda startup: self._begin(startup, sock, address),
            lambda reason: turn_away(sock, reason),
            sock,
            scarce=scarce(sock),
        )

    def out_of_descriptors(self) -> None:
        """A connection came, and there is no descriptor for it."""
        self._admission.make_room()

    def _begin(
        self, startup: Startup, sock: socket.socket, address: tuple[str, int]
    ) -> ServerLeg | None:
        """Speak with whoever is there."""
        leg = ServerLeg(self._engine, self._options)
        leg.introduce(self, startup, address)
        self.legs.add(leg)
        try:
            leg.attach(sock)
        except OSError:  # It was reset before it was accepted.
            self.legs.discard(leg)
            sock.close()
            return None
        return leg

    def leg_up(self, leg: ServerLeg) -> None:
        """A client has logged in."""
        self.legs.leg_up(leg)
        self.judge.leg_up(leg)

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        """A connection is gone, and with it what it published."""
        with whatever_fails("withdrawing services"):
            self.services.leg_down(leg)
        with whatever_fails("forgetting a leg"):
            self.judge.leg_down(leg)
            self.legs.leg_down(leg, error)
        self._drain.leg_down()

    # -- what a client asks for

    async def publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        """C's `tcpip-forward`."""
        return await self.services.publish(leg, bind, port)

    def withdraw(self, leg: ServerLeg, bind: str, port: int) -> bool:
        """C's `cancel-tcpip-forward`."""
        return self.services.withdraw(leg, bind, port)

    def service_down(
        self, leg: ServerLeg, bind: str, port: int, seconds: float, reason: str
    ) -> None:
        """C says why it is about to withdraw a service."""
        self.services.service_down(leg, bind, port, seconds, reason)

    def service_state(self, leg: ServerLeg, host: str, port: int) -> bytes:
        """A asks what would become of its `direct-tcpip`."""
        outlook = self._router.outlook(leg, host, port)
        return service_state(*outlook) if outlook else service_state(0, "", "")

    def open_stream(
        self, leg: ServerLeg, host: str, port: int, origin_host: str, origin_port: int
    ) -> ChannelHandler:
        """A's `direct-tcpip`."""
        return self._router.open_stream(leg, host, port)

    # -- its end

    async def drain(self) -> None:
        """Take nothing new, and wait until every stream is over, or it has been long enough."""
        self._drain.begin()
        self._admission.close()
        self._held.stop()
        self.services.close()
        await self._drain.wait(self.config.drain)

    def close(self) -> None:
        """Close every leg and every open port."""
        for leg in self.legs:
            leg.dismiss(GOODBYE)
        self._held.stop()
        self.services.close()
