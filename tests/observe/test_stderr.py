"""Lines for a reader who may have stopped: whole, in order, and nobody waits for him."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from relay.observe.stderr import QUEUED_BYTES, LineWriter

LINE = "line {:07} " + "x" * 100 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """What is read, and what is written."""
    read, write = os.pipe()
    with open(write, "w") as stream:
        yield read, stream
    os.close(read)


def read_until(descriptor: int, last: str) -> list[str]:
    text = ""
    while last not in text:
        text += os.read(descriptor, 1 << 16).decode()
    return text.splitlines()


def test_every_line_comes_at_once_and_in_order(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    writer = LineWriter(stream, str)
    for number in range(100):
        writer.write(f"{number}\n")
        assert os.read(read, 100) == f"{number}\n".encode()
    for number in range(300):
        writer.write(f"{number}\n")
    assert writer.flush(60)
    assert read_until(read, "299\n") == [str(number) for number in range(300)]


def test_what_is_not_read_is_dropped_and_counted(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    writer = LineWriter(stream, "{} dropped\n".format)
    count = 2 * QUEUED_BYTES // len(LINE)
    for number in range(count):
        writer.write(LINE.format(number))
    assert not writer.flush(0.01)
    writer.write("a crash\n", always=True)
    lines = read_until(read, "a crash\n")
    kept = len(lines) - 2
    assert lines[:kept] == [LINE.format(number).rstrip() for number in range(kept)]
    assert lines[kept] == f"{count - kept} dropped"
    assert QUEUED_BYTES <= kept * len(LINE.format(0)) < QUEUED_BYTES + 128 * 1024
    assert writer.flush(60)
    writer.write("what comes later\n")
    assert read_until(read, "later\n") == ["what comes later"]


def test_lines_of_many_threads_are_whole(pipe: tuple[int, TextIO]) -> None:
    read, stream = pipe
    writer = LineWriter(stream, str)

    def write() -> None:
        for number in range(500):
            writer.write(LINE.format(number))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    done = threading.Thread(target=lambda: [t.join() for t in threads] and writer.write("end\n"))
    done.start()
    *lines, _ = read_until(read, "end\n")
    assert sorted(lines) == sorted(4 * [LINE.format(number).rstrip() for number in range(500)])


def test_who_is_gone_is_no_error(pipe: tuple[int, TextIO]) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream:
        writer = LineWriter(stream, str)
        writer.write("nobody reads\n")
        assert writer.flush(60)
    LineWriter(None, str).write("there is no standard error\n")


# -- a program's end

PROGRAM = """
import sys
import anyio
from relay.cli.run import run_program
from relay.observe.log import EventLog, configure

async def program():
    for number in range(int(sys.argv[1])):
        log.info("line", "line {number} {more}", number=number, more="x" * 200)
    if sys.argv[2] == "wait":
        print("all is said", flush=True)
        sys.stdin.read()
    if sys.argv[2] == "crash":
        raise ZeroDivisionError

configure("relay-server", sys.argv[3])
log = EventLog("relay-server")
sys.exit(run_program("relay-server", program, log))
"""


def started(lines: int, how: str, format: str = "human") -> subprocess.Popen[str]:
    words = [sys.executable, "-c", PROGRAM, str(lines), how, format]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_last_lines_are_written() -> None:
    with started(3000, "end") as program:
        assert program.stderr is not None
        assert len(program.stderr.readlines()) == 3000
    assert program.returncode == 0


def test_the_trace_of_a_crash_is_written() -> None:
    with started(3000, "crash") as program:
        assert program.stderr is not None
        lines = program.stderr.readlines()
    assert program.returncode == 1
    assert "line 2999" in lines[2999]
    assert "this is a mistake in relay-server" in lines[3000]
    assert lines[3001].startswith("Traceback")
    assert lines[-1] == "ZeroDivisionError\n"


@pytest.mark.parametrize(("how", "code"), [("end", 0), ("crash", 1)])
def test_a_program_ends_though_nobody_reads(how: str, code: int) -> None:
    with started(10_000, how) as program:
        assert program.wait() == code


@pytest.mark.parametrize("format", ["human", "json"])
def test_both_formats_say_how_many_were_dropped(format: str) -> None:
    """Nobody reads until the program has said all."""
    with started(10_000, "wait", format) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "all is said\n"
        line = program.stderr.readline()
        while "were dropped" not in line:
            assert line
            line = program.stderr.readline()
        program.stdin.close()
    if format == "json":
        last = json.loads(line)
        assert last["event"] == "log lines dropped"
        assert last["level"] == "warning"
        assert last["count"] > 0
    else:
        assert re.search(r"warning: \d+ lines of the log were dropped: they were not", line)
