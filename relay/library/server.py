"""`relay.serve`: a relay-server in one's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Final

import anyio

from relay.core.forward import parse_listen
from relay.errors import RelayError
from relay.events import Events
from relay.io.engine import Engine
from relay.io.local import Acceptor, name_of
from relay.library.config import NO_POLLING, Path
from relay.library.context import asyncio_context, end_of, turns
from relay.library.host import current_host
from relay.server.program import load_host_keys, open_sockets
from relay.server.relay import Relay
from relay.settings.server import DRAIN, ServerSettings
from relay.trust.hostkeys import HOST_KEY_NAME


@asynccontextmanager
async def serve(
    *,
    listen: str | Sequence[str] = "0.0.0.0:2222",
    state_dir: Path,
    authorized_keys: Path | None = None,
    drain: float = DRAIN,
) -> AsyncIterator[Server]:
    """A relay-server in this process, until the block ends.

        async with relay.serve(listen="127.0.0.1:0", state_dir="state") as server: ...

    On asyncio it is in the caller's own loop, on trio in the thread that the tunnels share. Its
    state folder has what that of the program has: the host key (made if it is missing) and
    `authorized_keys`, which is read again when it changes. All other settings are as relay-server's
    defaults.

    Args:
        listen: `host:port`, or several; port 0 picks one.
        state_dir: the folder.
        authorized_keys: the public keys that may log in; None: those in the folder.
        drain: seconds for which open streams may go on at the end.

    Raises:
        UsageError: `listen` is no address.
        AddressError: it cannot be listened there.
        FileError: the host key cannot be read or made.
    """
    settings = ServerSettings(
        listen=tuple(
            parse_listen(one) for one in ([listen] if isinstance(listen, str) else listen)
        ),
        state_dir=FilePath(state_dir),
        authorized_keys=None if authorized_keys is None else FilePath(authorized_keys),
        drain=drain,
        busy_poll=NO_POLLING,
    )
    async with current_host() as host:
        server = _Running(settings)
        await host.call(server.start)
        try:
            yield Server(server.addresses, settings.state_dir)
        finally:
            with anyio.CancelScope(shield=True):
                await host.call(server.stop)


class Server:
    """A relay-server that runs."""

    def __init__(self, addresses: Sequence[str], state_dir: FilePath) -> None:
        self.addresses: Final = tuple(addresses)
        """Where it listens, each as `host:port`."""
        self._state_dir = state_dir

    @property
    def host_key(self) -> str:
        """Its public host key, as a line of known_hosts has it behind the host's name."""
        return (self._state_dir / f"{HOST_KEY_NAME}.pub").read_text().strip()


class _Running:
    """Its half in the event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.addresses: list[str] = []

    async def start(self) -> None:
        self._context = asyncio_context()
        self._context.run(self._begin)

    def _begin(self) -> None:
        """Raises `LocalError`, and leaves nothing behind then."""
        loop = asyncio.get_running_loop()
        events = Events()
        self._engine = Engine(loop)
        self._acceptors: list[Acceptor] = []
        try:
            keys = load_host_keys(self._settings, events)
            self._relay = Relay(self._settings, keys, events, self._engine)
            for sock in open_sockets(self._settings):
                acceptor = Acceptor(sock, self._relay.accept, self._relay.out_of_descriptors)
                self._acceptors.append(acceptor)
                self.addresses.append(name_of(sock))
        except RelayError:
            self._engine.close()
            raise
        self._judging = loop.create_task(self._relay.judge.run())

    async def stop(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        await end_of(asyncio.ensure_future(self._relay.drain()))
        self._relay.close()
        self._judging.cancel()
        await end_of(self._judging)
        await end_of(asyncio.ensure_future(turns()))
        self._engine.close()
