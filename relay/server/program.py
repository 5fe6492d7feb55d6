"""`relay-server` as a program: its keys, its listening ports, its signals and its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from functools import partial

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus

from relay.errors import FileError, LocalError
from relay.events import Events
from relay.events.server import Listening
from relay.io.engine import Engine
from relay.io.local import Acceptor, listen, name_of
from relay.observe.lines import LogSink
from relay.observe.log import EventLog
from relay.server.relay import Relay
from relay.server.running import Operate, RunningServer
from relay.server.systemd import Supervisor, inherited_sockets
from relay.settings.server import ServerSettings
from relay.system import RELOAD, open_signal_receiver
from relay.trust.hostkeys import (
    HOST_KEY_NAME,
    HostIdentity,
    HostKey,
    fingerprint,
    load_host_certificate,
    load_host_key,
    load_or_create_host_key,
)


async def run(
    config: ServerSettings,
    log: EventLog,
    reread: Callable[[], ServerSettings] | None = None,
    *operators: Operate,
) -> None:
    """Serve until cancelled, or until an operator ends it, then let the streams finish. Raises
    `LocalError` when it cannot begin. `reread` gives the configuration as it is now, for SIGHUP."""
    engine = Engine(asyncio.get_running_loop())
    sink = LogSink(log)
    events = Events(sink)
    relay = Relay(config, load_host_keys(config, events), events, engine)
    supervisor = Supervisor()
    acceptors: list[Acceptor] = []
    try:
        for sock in _sockets(config):
            acceptors.append(Acceptor(sock, relay.accept, relay.out_of_descriptors))
            events.emit(Listening(name_of(sock)))
        async with anyio.create_task_group() as tasks:
            await tasks.start(_reload_on_signal, relay, supervisor, reread)
            reload = partial(_reload, relay, supervisor, reread)
            running = RunningServer(relay, reload, tasks.cancel_scope.cancel)
            for operate in operators:
                tasks.start_soon(operate, running)
            tasks.start_soon(sink.run)
            tasks.start_soon(relay.judge.run)
            tasks.start_soon(_feed_watchdog, relay, supervisor)
            supervisor.ready(relay.status())
    finally:
        # It would end us on the spot, in the middle of the streams.
        if RELOAD is not None:
            signal.signal(RELOAD, signal.SIG_IGN)
        supervisor.stopping()
        for acceptor in acceptors:
            acceptor.close()
        with anyio.CancelScope(shield=True):
            await relay.drain()
        relay.close()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()  # The legs' last words leave in this turn.
        engine.close()
        sink.report()


def _sockets(config: ServerSettings) -> list[socket.socket]:
    """The listening sockets: a supervisor's, or our own."""
    return inherited_sockets() or open_sockets(config)


def open_sockets(config: ServerSettings) -> list[socket.socket]:
    """Our own. Raises `AddressError`."""
    sockets: list[socket.socket] = []
    try:
        for host, port in config.listen:
            sockets += listen([host or "0.0.0.0"], port)
    except LocalError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


async def _reload_on_signal(
    relay: Relay,
    supervisor: Supervisor,
    reread: Callable[[], ServerSettings] | None,
    *,
    task_status: TaskStatus[None],
) -> None:
    if RELOAD is None:
        task_status.started()
        return
    with open_signal_receiver(RELOAD) as signals:
        task_status.started()
        async for _ in signals:
            try:
                _reload(relay, supervisor, reread)
            except LocalError:
                pass  # It has been told.


def _reload(
    relay: Relay, supervisor: Supervisor, reread: Callable[[], ServerSettings] | None
) -> None:
    """Go on with the configuration as it is now. Raises `LocalError` when it is wrong."""
    if reread is None:
        return
    supervisor.reloading()
    try:
        relay.configure(reread())
    except LocalError as error:
        text = "{reason}; everything stays as it was"
        relay.events.note("error", "reload failed", text, reason=str(error))
        raise
    finally:
        supervisor.ready(relay.status())


async def _feed_watchdog(relay: Relay, supervisor: Supervisor) -> None:
    """The event loop turns: this task gets its turn."""
    while supervisor.watched:
        await anyio.sleep(supervisor.interval)
        supervisor.alive(relay.status())


def load_host_keys(config: ServerSettings, events: Events) -> list[HostIdentity]:
    """The keys by which clients know this B; the first start makes one."""
    if config.host_keys:
        keys = []
        for path in config.host_keys:
            keys.append(load_host_key(path))
            if keys[-1].algorithm in {key.algorithm for key in keys[:-1]}:
                raise FileError(path, "a second host key of the same kind: clients ask for a kind")
    else:
        path = config.state_dir / HOST_KEY_NAME
        key, created = load_or_create_host_key(path)
        keys = [key]
        if created:
            events.note("info", "host key made", "made a host key: {path}", path=str(path))
    for key in keys:
        events.note(
            "info", "host key", "host key {fingerprint} ({kind})",
            fingerprint=fingerprint(key), kind=key.get_algorithm(),
        )  # fmt: skip
    identities: dict[HostKey, HostIdentity] = {key: key for key in keys}
    for path in config.host_certificates:
        key, certificate = load_host_certificate(path, keys)
        identities[key] = key, certificate
    return list(identities.values())
