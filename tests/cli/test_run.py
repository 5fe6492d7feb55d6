"""Exit codes, and one line for whatever went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import anyio.lowlevel
import pytest

from relay.cli.run import run_program
from relay.errors import AddressError, RelayError, UsageError
from relay.observe.log import EventLog, configure


def run_and_fail(error: BaseException) -> int:
    configure("relay-agent")

    async def program() -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    return run_program("relay-agent", program, EventLog("relay-agent"))


def test_done() -> None:
    assert run_program("relay-agent", anyio.lowlevel.checkpoint, EventLog("relay-agent")) == 0


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (AddressError("port 3000 is taken"), 1, "port 3000 is taken"),
        (UsageError("no such thing"), 2, "no such thing"),
        (ExceptionGroup("", [ExceptionGroup("", [RelayError("inside")])]), 1, "inside"),
        (BrokenPipeError(32, "Broken pipe"), 1, "[Errno 32] Broken pipe"),
        (RelayError("two\nlines \x1b[31m"), 1, r"two\nlines \x1b[31m"),
    ],
)
def test_what_a_user_can_cause_is_one_line(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_and_fail(error) == code
    assert capsys.readouterr().err == f"relay-agent: {text}\n"


def test_two_tasks_that_failed_are_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [RelayError("one"), UsageError("two"), RelayError("one")]
    assert run_and_fail(ExceptionGroup("", errors)) == 2
    assert capsys.readouterr().err == "relay-agent: one\nrelay-agent: two\n"


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), ExceptionGroup("", [RelayError("x"), ZeroDivisionError()])]
)
def test_a_bug_shows_its_trace(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_and_fail(error) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "ZeroDivisionError" in err


STUBBORN = """
import sys
import anyio
from relay.cli.run import run_program
from relay.observe.log import EventLog, configure

async def program():
    print("ready", flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        print("goodbye", flush=True)
        if "stubborn" in sys.argv:
            with anyio.CancelScope(shield=True):
                await anyio.sleep_forever()

configure("relay-agent")
sys.exit(run_program("relay-agent", program, EventLog("relay-agent")))
"""


def start(*argv: str) -> subprocess.Popen[str]:
    program = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly(number: signal.Signals) -> None:
    with start() as program:
        program.send_signal(number)
        out, err = program.communicate(timeout=10)
        assert (program.returncode, out, err) == (0, "goodbye\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_what_hangs(number: signal.Signals) -> None:
    with start("stubborn") as program:
        assert program.stdout is not None
        program.send_signal(number)
        assert program.stdout.readline() == "goodbye\n"
        deadline = time.monotonic() + 10
        while program.poll() is None and time.monotonic() < deadline:
            # The first may still be on its way out of the receiver.
            program.send_signal(number)
            time.sleep(0.05)
        _, err = program.communicate(timeout=1)
        assert (program.returncode, err) == (-number, "")


def test_a_closed_standard_error_is_no_catastrophe() -> None:
    code = "from relay.observe.log import *; configure('x'); EventLog('x').info('a', 'b')"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-c", code], stderr=write_end, check=False)
    os.close(write_end)
    assert done.returncode in (0, 120)  # 120: the interpreter could not flush at its exit
