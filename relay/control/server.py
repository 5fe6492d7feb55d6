"""The control socket of a running program: it listens, and serves who connects."""

from __future__ import annotations

import errno
import socket
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from relay.control.api import Api, Route
from relay.control.claim import ControlSocket, InUse, listen, make_folder
from relay.control.limits import CONNECTIONS
from relay.control.operations import Operations
from relay.control.place import is_ours
from relay.errors import AddressError
from relay.io.local import ACCEPT_PAUSE
from relay.life.running import Running
from relay.observe.faults import whatever_fails
from relay.observe.log import EventLog

_PASSING: Final = {errno.EAGAIN, errno.EINTR, errno.ECONNABORTED}


async def operate(
    program: str,
    path: Path,
    kinds: tuple[str, ...],
    log: EventLog,
    running: Running[Any],
    *,
    is_default: bool,
) -> None:
    """Let a program be looked at and changed by its control socket, until it is asked to end."""
    operations = Operations(program, running, kinds)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(control, path, operations.routes(), log, is_default=is_default))
        await operations.ending.wait()
        tasks.cancel_scope.cancel()
    await operations.end()


async def control(
    path: Path, routes: list[Route], log: EventLog, *, is_default: bool, folder: bool = True
) -> None:
    """Serve the routes until cancelled. A program goes on without when it cannot listen, and says
    so; of the default path, which nobody has asked for, only that another one has it. Its folder is
    made, unless `folder` says that it is there for more than this."""
    try:
        if is_default and folder:
            make_folder(path.parent)
        claimed = await listen(path)
    except AddressError as error:
        level = log.debug if is_default and not isinstance(error, InUse) else log.warning
        level("no control", "going on without a control socket: {reason}", reason=str(error))
        return
    log.debug("control", "control socket {path}", path=str(path))
    try:
        await _accept(claimed, Api(routes), log)
    finally:
        claimed.close()


async def _accept(claimed: ControlSocket, api: Api, log: EventLog) -> None:
    free = anyio.Semaphore(CONNECTIONS)
    async with anyio.create_task_group() as tasks:
        while True:
            await free.acquire()
            sock = await _next(claimed.sock)
            if is_ours(sock):
                tasks.start_soon(_serve, sock, api, free)
            else:
                text = "control socket: a connection of another user"
                log.warning("control refused", text, per="control")
                sock.close()
                free.release()


async def _next(listening: socket.socket) -> socket.socket:
    while True:
        await anyio.wait_readable(listening)
        try:
            return listening.accept()[0]
        except OSError as error:
            if error.errno not in _PASSING:
                await anyio.sleep(ACCEPT_PAUSE)  # There may be a descriptor by then.


async def _serve(sock: socket.socket, api: Api, free: anyio.Semaphore) -> None:
    # Imported late: most programs are never asked anything.
    from relay.control.http import serve

    try:
        with whatever_fails("answering at the control socket"):
            await serve(sock, api)
    finally:
        free.release()
