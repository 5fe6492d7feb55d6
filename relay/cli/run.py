"""From a coroutine to an exit code: signals, errors, and what a person gets to read of them.

0: stopped by SIGINT or SIGTERM, or done; 1: refused, or broken; 2: wrong usage. A stack trace
means a mistake in our code; nothing that a user or a peer does leads to one.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import anyio
from anyio.abc import TaskStatus

from relay.errors import RelayError
from relay.log import EventLog
from relay.ssh.descriptors import raise_limit
from relay.ssh.system import new_event_loop, open_signal_receiver

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def run_program(program: str, main_coroutine: Callable[[], Awaitable[None]], log: EventLog) -> int:
    """Run `main_coroutine` on asyncio until it ends or a signal ends it; the exit code.

    The first signal cancels it, so that it can say goodbye to its peers; a second one, should
    that take too long, ends the process on the spot.
    """
    raise_limit()
    try:
        anyio.run(
            _until_stopped, main_coroutine, log,
            backend="asyncio", backend_options={"loop_factory": new_event_loop},
        )  # fmt: skip
    except KeyboardInterrupt:  # before there was anything to stop
        return EXIT_OK
    except BaseException as error:
        causes = list(_leaves(error))
        if not all(isinstance(cause, (RelayError, OSError)) for cause in causes):
            log.error("bug", "this is a mistake in {program}, not in its use:", program=program)
            log.trace(causes[0] if len(causes) == 1 else error)
            return EXIT_FAILED
        for text in dict.fromkeys(map(str, causes)):
            log.error("failed", "{reason}", reason=text)
        return max(getattr(cause, "exit_code", EXIT_FAILED) for cause in causes)
    return EXIT_OK


async def _until_stopped(main_coroutine: Callable[[], Awaitable[None]], log: EventLog) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(_cancel_on_signal, tasks.cancel_scope, log)
        await main_coroutine()
        tasks.cancel_scope.cancel()


async def _cancel_on_signal(
    scope: anyio.CancelScope, log: EventLog, *, task_status: TaskStatus[None]
) -> None:
    with open_signal_receiver(*STOP_SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            log.debug("stopping", "stopping: {signal}", signal=signal.Signals(number).name)
            scope.cancel()
            break
    for number in STOP_SIGNALS:
        # Python's own handler would raise KeyboardInterrupt wherever the clean-up happens to be.
        signal.signal(number, signal.SIG_DFL)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions inside (nested) groups; of several tasks that failed, each has its own."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
