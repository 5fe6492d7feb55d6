"""The agent as an end of its own: an SSH server inside `relay-agent`, reached through B.

A runs a second SSH session through the first, with C as its other side, so that B switches
ciphertext and need not be trusted (design: "End to end"). What `ssh -J b gpu1` needs an sshd for
on C is here: forwards to what C's owner allows, and no shell, no command, no files.

C's owner decides who gets in: the host key and `authorized_keys` are the agent's own, not B's.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from relay.agent.config import EndpointConfig
from relay.agent.resume import Resumptions
from relay.core.forward import MAX_PORT, format_address
from relay.core.handler import OpenRefused
from relay.core.patterns import parse_ip
from relay.core.services import is_privileged
from relay.errors import AddressError
from relay.events import Events
from relay.events.server import SessionStreamClosed, StreamRefused
from relay.io.dial import dial_service
from relay.io.endpoint import Endpoint, tell_end
from relay.io.nested import NestedStream
from relay.life.admission import Admission, Startup
from relay.ssh.judge import Judge
from relay.ssh.leg import Leg
from relay.ssh.legs import Legs
from relay.ssh.listener import Listener
from relay.ssh.server import ServerLeg
from relay.ssh.server_options import server_options
from relay.sshconfig.client import DEFAULT_PORT, GatewayPorts
from relay.trust.hostkeys import HOST_KEY_NAME, HostKey, fingerprint, load_or_create_host_key
from relay.trust.keyfile import KeyFile
from relay.trust.known_hosts import host_name, line_for
from relay.wire.numbers import ENDPOINT_VERSION, OpenFailure

THIS_MACHINE: Final = "127.0.0.1"
"""Where a session comes from, for `from=`: B's word for it is not to be trusted, and an sshd behind
`ssh -R` would see this address too."""

NOWHERE: Final = "somewhere"
"""Where those come from of whom B gives no address."""


class SessionEndpoint:
    """Serves the sessions that come through B. The `Host` of their legs."""

    def __init__(self, config: EndpointConfig, events: Events) -> None:
        """Raises `FileError` when the host key cannot be read or made."""
        self.config = config
        self.events = events
        self.key_file = KeyFile(
            config.state_dir / "authorized_keys", events, strict=config.strict_modes == "yes"
        )
        self.key_file.keys()  # Its problems are told now, not at the first session.
        self._options = server_options([self._host_key()], (), version=ENDPOINT_VERSION)
        # B's own limits: whoever may open the endpoint's name there is a stranger here.
        self._admission = Admission(events)
        self._legs = Legs(self._admission, events, inner=True)
        self._listeners: dict[tuple[ServerLeg, str, int], Listener] = {}
        self.judge = Judge(self.key_file, events, self._legs, self._withdraw_forbidden)
        self.resumptions = Resumptions(config.resume_for, events, self._admission, self.key_file)

    def _host_key(self) -> HostKey:
        key, created = load_or_create_host_key(self.config.state_dir / HOST_KEY_NAME)
        self.events.note(
            "info", "host key", "{name}: host key {fingerprint}",
            name=self.config.name, fingerprint=fingerprint(key),
        )  # fmt: skip
        if created:
            # The name alone is what HostKeyAlias has, which an sshd as B needs.
            name, port = self.config.name, self.config.port
            line = line_for(name, DEFAULT_PORT, key)
            if port != DEFAULT_PORT:
                line = f"{host_name(name, port)},{line}"
            text = "{name}: the line for known_hosts on the other side: {line}"
            self.events.note("info", "host key made", text, name=name, line=line)
        return key

    # -- sessions

    def stream(self, outer: Leg, origin_host: str, origin_port: int) -> NestedStream:
        """A stream from B for the endpoint's own service. B says where it comes from: by that it
        is counted among the others that have not logged in, and by nothing more."""
        source = origin_host if parse_ip(origin_host) else NOWHERE
        origin = format_address(origin_host, origin_port)

        def admit(stream: NestedStream) -> None:
            self._admission.admit(
                source,
                lambda startup: self._begin(startup, stream, origin),
                lambda reason: stream.refuse(OpenFailure.RESOURCE_SHORTAGE, reason),
            )

        stream = NestedStream(outer)
        stream.accept(admit)
        return stream

    def _begin(self, startup: Startup, stream: NestedStream, origin: str) -> ServerLeg | None:
        if not stream.confirm():
            return None
        leg = ServerLeg(stream.engine, self._options)
        leg.introduce(self, startup, (THIS_MACHINE, 0), f"{origin} by way of the relay")
        self._legs.add(leg)
        leg.attach_nested(self.resumptions.opened(leg, stream))
        return leg

    def leg_up(self, leg: ServerLeg) -> None:
        self._legs.leg_up(leg)
        self.judge.leg_up(leg)

    def leg_down(self, leg: ServerLeg, error: Exception | None) -> None:
        self.judge.leg_down(leg)
        for key in [key for key in self._listeners if key[0] is leg]:
            self._listeners.pop(key).close()
        if self.resumptions.leg_down(leg):
            self._legs.discard(leg)
        else:
            self._legs.leg_down(leg, error)

    # -- what a session asks for

    def open_stream(
        self, leg: ServerLeg, host: str, port: int, origin_host: str, origin_port: int
    ) -> Endpoint:
        """`direct-tcpip`: dial it from here, if this machine's owner and the key allow."""
        target = format_address(host, port)
        allowed = any(permit.allows_open(host, port) for permit in self.config.allow)
        if leg.entry is None or not leg.entry.grant.may_open(host, port) or not allowed:
            why = "this key may not open it" if allowed else "not among what --allow allows"
            code = OpenFailure.ADMINISTRATIVELY_PROHIBITED
            self.events.emit(StreamRefused(target, leg.name, code, why, inner=True))
            raise OpenRefused(code, f"{target}: {why}")
        if leg.full():
            text = f"{target}: there are too many streams already"
            raise OpenRefused(OpenFailure.RESOURCE_SHORTAGE, text)
        ended = tell_end(self.events, partial(SessionStreamClosed, leg=leg.name, target=target))
        endpoint = Endpoint(leg, ended)
        endpoint.serve(lambda: dial_service(host, port))
        return endpoint

    async def publish(self, leg: ServerLeg, bind: str, port: int) -> int | None:
        """`tcpip-forward`: the other way round, only if it was switched on."""
        gateway_ports: GatewayPorts = "no"
        permitted = _may_publish(leg, bind, port)
        if not self.config.reverse or not permitted or port > MAX_PORT:
            leg.refused(f"a forward of {format_address(bind, port)}")
            return None
        legs = self._legs.of(leg.identity)
        if sum(holder in legs for holder, _, _ in self._listeners) >= leg.limits.services_per_key:
            self._admission.hit("services-per-key")
            return None
        try:
            listener = Listener(leg, bind, port, gateway_ports, self.events)
        except AddressError as error:
            leg.refused(f"a forward of {format_address(bind, port)} ({error})")
            return None
        self._listeners[leg, bind, listener.port] = listener
        return listener.port

    def _withdraw_forbidden(self, leg: ServerLeg) -> None:
        """What the key of this leg may not publish any more."""
        for holder, bind, port in list(self._listeners):
            if holder is leg and not _may_publish(leg, bind, port):
                self.withdraw(leg, bind, port)

    def withdraw(self, leg: ServerLeg, bind: str, port: int) -> bool:
        listener = self._listeners.pop((leg, bind, port), None)
        if listener is None:
            return False
        listener.close()
        return True

    def service_state(self, leg: ServerLeg, host: str, port: int) -> None:
        """Nothing is published here: what a session may open is dialled when it does."""

    def service_down(
        self, leg: ServerLeg, bind: str, port: int, seconds: float, reason: str
    ) -> None:
        """What a session publishes is reached by its ports, where nobody could be told."""

    def close(self) -> None:
        """End every session."""
        self._admission.close()
        for leg in self._legs:
            leg.close()


def _may_publish(leg: ServerLeg, bind: str, port: int) -> bool:
    if leg.entry is None:
        return False
    grant = leg.entry.grant
    if is_privileged(bind, port):
        return grant.may_publish_privileged(bind, port)
    return grant.may_publish(bind, port)
