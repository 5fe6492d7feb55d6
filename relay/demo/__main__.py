"""`python -m relay.demo`: the whole relay on this machine, in a minute.

It asks a stand-in for a model server a question through the chain and prints the answer word
by word as it comes, then moves a gibibyte and says how fast that went.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from relay.demo.chain import Chain, ProgramFailed

MIB: Final = 1 << 20

STALL_SECONDS: Final = 30.0
"""A stream on loopback that is silent for so long is broken."""

DRAW_SECONDS: Final = 0.1
"""Between two pictures of the bar: quicker than the eye, slower than a terminal."""

_BUFFER: Final = MIB
_BAR: Final = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; the exit code is 0 if all of it worked."""
    parser = argparse.ArgumentParser(prog="python -m relay.demo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--size", type=_positive, default=1024, metavar="MIB", help="default 1024")
    size = parser.parse_args(argv).size * MIB
    signal.signal(signal.SIGTERM, _terminated)
    try:
        # The folder is 0700, and gone at the end: so are the keys.
        with tempfile.TemporaryDirectory(prefix="relay-demo-") as folder:
            chain = Chain(Path(folder))
            return _show(chain, size)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _show(chain: Chain, size: int) -> int:
    try:
        with chain.running() as port:
            try:
                _ask(port)
                _move(port, size)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise ProgramFailed(f"the stream broke: {error}\n{chain.failure()}") from error
    except ProgramFailed as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


def _ask(port: int) -> None:
    """The request that a client of a language model makes, its answer printed as it comes."""
    url = f"http://localhost:{port}/v1/chat/completions"
    question = {"role": "user", "content": "Who is there?"}
    body = json.dumps({"model": "qwen", "stream": True, "messages": [question]})
    print(f"$ curl -N {url} -d {shlex.quote(body)}")
    connection = http.client.HTTPConnection("localhost", port, timeout=STALL_SECONDS)
    connection.request("POST", "/v1/chat/completions", body)
    response = _successful(connection.getresponse())
    width = min(shutil.get_terminal_size().columns, 100) - 1
    column = width
    while (line := response.readline().decode()) != "data: [DONE]\n":
        if not line:
            raise http.client.IncompleteRead(b"")
        if not line.startswith("data: "):
            continue
        token = json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
        if column + len(token) > width:
            print("\n   " if column < width else "   ", end=" ")
            column = 4
        column += len(token)
        print(token, end="", flush=True)
    print()
    connection.close()


def _move(port: int, size: int) -> None:
    """`size` bytes from the service at C to A."""
    print(f"$ curl -o /dev/null http://localhost:{port}/bytes/{size}")
    connection = http.client.HTTPConnection("localhost", port, timeout=STALL_SECONDS)
    connection.request("GET", f"/bytes/{size}")
    response = _successful(connection.getresponse())
    buffer = bytearray(_BUFFER)
    progress = _Progress(size)
    moved = 0
    while moved < size:
        count = response.readinto(buffer)
        if not count:
            raise http.client.IncompleteRead(b"", size - moved)
        moved += count
        progress.show(moved)
    progress.finish()
    connection.close()


class _Progress:
    """A bar on a terminal; elsewhere a line for each quarter."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._start = time.monotonic()
        self._is_terminal = sys.stdout.isatty()
        self._next = 0.0

    def show(self, moved: int) -> None:
        now = time.monotonic()
        part = moved / self._size
        if self._is_terminal:
            if now >= self._next or moved == self._size:
                self._next = now + DRAW_SECONDS
                bar = "#" * int(part * _BAR)
                print(f"\r    [{bar:{_BAR}}] {self._text(moved, now)}", end=" ", flush=True)
        elif part >= self._next:
            if self._next:
                print(f"    {self._text(moved, now)}", flush=True)
            self._next += 0.25

    def finish(self) -> None:
        seconds = time.monotonic() - self._start
        rate = self._size / seconds
        newline = "\n" if self._is_terminal else ""
        print(
            f"{newline}    {self._size / MIB:.0f} MiB from C through B to A in {seconds:.1f} s: "
            f"{rate / 1e6:.0f} MB/s ({rate * 8 / 1e9:.1f} Gbit/s), encrypted on both legs"
        )

    def _text(self, moved: int, now: float) -> str:
        rate = moved / max(now - self._start, 1e-9)
        return f"{moved / self._size:4.0%} {moved / MIB:6.0f} MiB {rate / 1e6:6.0f} MB/s"


def _successful(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if response.status != http.client.OK:
        raise http.client.HTTPException(f"{response.status} {response.reason}")
    return response


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError("give a number of MiB from 1 on")
    return int(text)


def _terminated(number: int, frame: object) -> NoReturn:
    """SIGTERM unwinds the stack, so that the programs and the keys go too."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
