"""From a coroutine to an exit code: signals, errors, and what a person gets to read of them.

0: stopped by SIGINT or SIGTERM, or done; 1: refused, or broken; 2: wrong usage. A stack trace
means a mistake in our code; nothing that a user or a peer does leads to one.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import anyio
from anyio.abc import TaskStatus

from relay.errors import RelayError
from relay.io.descriptors import raise_limit
from relay.observe.log import EventLog
from relay.system import RELOAD, new_event_loop, open_signal_receiver

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_program(
    program: str,
    main_coroutine: Callable[[], Awaitable[None]],
    log: EventLog,
    on_hangup: Callable[[], None] | None = None,
) -> int:
    """Run `main_coroutine` on asyncio until it ends or a signal ends it; the exit code.

    The first signal cancels it, so that it can say goodbye to its peers; a second one, should
    that take too long, ends the process on the spot.

    SIGHUP calls `on_hangup`, where that is given, in a process that has no terminal: a service. To
    one that has a terminal it means that this is gone, and ends it, as ssh. Who was told to ignore
    it (nohup) does.
    """
    raise_limit()
    if not sys.warnoptions:
        # What libraries warn their users' developers of (`cryptography` of Diffie-Hellman with a
        # relay that has nothing newer) is nothing that ours could do something about.
        warnings.simplefilter("ignore")
    try:
        anyio.run(
            _until_stopped, main_coroutine, log, on_hangup,
            backend="asyncio", backend_options={"loop_factory": new_event_loop},
        )  # fmt: skip
    except KeyboardInterrupt:  # before there was anything to stop
        return EXIT_OK
    except BaseException as error:
        causes = list(_leaves(error))
        if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
            return EXIT_OK  # At a question to the person at the terminal.
        if not all(isinstance(cause, (RelayError, OSError)) for cause in causes):
            log.error("bug", "this is a mistake in {program}, not in its use:", program=program)
            log.trace(causes[0] if len(causes) == 1 else error)
            return EXIT_FAILED
        for text in dict.fromkeys(map(str, causes)):
            log.error("failed", "{reason}", reason=text)
        return max(getattr(cause, "exit_code", EXIT_FAILED) for cause in causes)
    return EXIT_OK


async def _until_stopped(
    main_coroutine: Callable[[], Awaitable[None]],
    log: EventLog,
    on_hangup: Callable[[], None] | None,
) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(_cancel_on_signal, tasks.cancel_scope, log, on_hangup)
        await main_coroutine()
        tasks.cancel_scope.cancel()


async def _cancel_on_signal(
    scope: anyio.CancelScope,
    log: EventLog,
    on_hangup: Callable[[], None] | None,
    *,
    task_status: TaskStatus[None],
) -> None:
    numbers: tuple[int, ...] = STOP_SIGNALS
    if on_hangup and RELOAD is not None and signal.getsignal(RELOAD) is not signal.SIG_IGN:
        numbers += (RELOAD,)
    if has_terminal():
        on_hangup = None
    with open_signal_receiver(*numbers) as signals:
        task_status.started()
        async for number in signals:
            if number == RELOAD and on_hangup is not None:
                on_hangup()
                continue
            log.debug("stopping", "stopping: {signal}", signal=signal.Signals(number).name)
            scope.cancel()
            break
    for number in numbers:
        # Python's own handler would raise KeyboardInterrupt wherever the clean-up happens to be.
        signal.signal(number, signal.SIG_DFL)


def has_terminal() -> bool:
    """Does the process have a controlling terminal (credentials(7)), whatever its standard streams
    are?"""
    try:
        with open("/dev/tty", "rb"):
            return True
    except OSError:
        return False


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions inside (nested) groups; of several tasks that failed, each has its own."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
