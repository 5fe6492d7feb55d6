"""Standard error, written by a thread: whoever reads it may stop, and the program goes on.

Standard error may be a pipe that nobody reads, a terminal that was halted with Ctrl-S, a disk that
is away. A write to it then waits, and an event loop that writes would wait with it. (O_NONBLOCK is
no way out: it would hold for the shell, and whatever else shares the terminal or the pipe.) So the
lines wait in a queue, and a thread writes them: in their order, each in one piece. What does not
fit in the queue is dropped and counted; a line in its place says how many they were.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, TextIO

QUEUED_BYTES: Final = 1 << 20
"""What may wait to be written: some five thousand lines, more than an hour of a quiet server, a
second of the busiest."""

WRITE_SIZE: Final = 4096
"""Lines that wait are written together up to this size: Linux's PIPE_BUF, up to which lines of
several programs in one pipe do not mix (pipe(7))."""

PATIENCE: Final = 1.0
"""Seconds that a program which ends waits for its last lines to be taken."""


class LineWriter:
    """Writes lines to a stream and never waits for it, unless it is in memory.

    `dropped` makes the line that says how many were dropped.
    """

    def __init__(self, stream: TextIO | None, dropped: Callable[[int], str]) -> None:
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._dropped_line = dropped
        # Lines; an event to be set when all before it is written; None where lines were dropped.
        self._queue: SimpleQueue[bytes | threading.Event | None] = SimpleQueue()
        # Guards what `write` changes: `_put` and `_dropped`.
        self._lock = threading.Lock()
        # Bytes that were put in the queue, and those of them that the thread, which alone changes
        # this, is done with.
        self._put = 0
        self._done = 0
        # Lines dropped. While there are any, a None is in the queue, and every line is dropped:
        # what is told of later comes later.
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def write(self, line: str, *, always: bool = False) -> None:
        """Write a line, which ends with a newline, soon. `always`: do not drop it."""
        if self._descriptor is None:
            if self._stream is not None and not self._stream.closed:
                self._stream.write(line)
                self._stream.flush()
            return
        with self._lock:
            if not always:
                if self._dropped:
                    self._dropped += 1
                    return
                if self._put - self._done > QUEUED_BYTES:
                    self._dropped = 1
                    self._queue.put(None)
                    return
            data = self._encode(line)
            self._put += len(data)
            self._queue.put(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def flush(self, seconds: float = PATIENCE) -> bool:
        """Wait until all is written, for so long at most. Is it?"""
        if self._thread is None:
            return True
        written = threading.Event()
        self._queue.put(written)
        return written.wait(seconds)

    def _encode(self, line: str) -> bytes:
        return line.encode(getattr(self._stream, "encoding", None) or "utf-8", "backslashreplace")

    # -- the thread

    def _run(self) -> None:
        item: bytes | threading.Event | None = self._queue.get()
        while True:
            if isinstance(item, bytes):
                item = self._write_lines(item)
                continue
            if item is None:
                with self._lock:
                    count, self._dropped = self._dropped, 0
                self._write(self._encode(self._dropped_line(count)))
            else:
                item.set()
            item = self._queue.get()

    def _write_lines(self, lines: bytes) -> bytes | threading.Event | None:
        """Write these and those behind them that fit; returns what comes next."""
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if not isinstance(item, bytes) or len(lines) + len(item) > WRITE_SIZE:
                self._write(lines)
                self._done += len(lines)
                return item
            lines += item
        self._write(lines)
        self._done += len(lines)
        return self._queue.get()

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # Somebody else has made it so.
                select.select([], [self._descriptor], [])
            except OSError:  # Closed, or full: there is no place left to complain to.
                return


def _descriptor_of(stream: TextIO | None) -> int | None:
    """None: there is none behind it."""
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError):
        return None
