"""One connection of the control socket: HTTP/1.1 by h11, one request after the other."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Final

import anyio
import h11

from relay.control.api import JSON, Answer, Api, Request, problem
from relay.control.limits import ANSWER_TIMEOUT, MAX_BODY, MAX_HEAD, REQUEST_TIMEOUT
from relay.io.turns import in_turn

CHUNK: Final = 64 * 1024
"""Bytes read at once."""

DISCARD_TIME: Final = 1.0
DISCARDED_CHUNKS: Final = 64
"""Seconds, and times CHUNK, that are read of what is not wanted, so that its sender reads why."""


PIECES_PER_TURN: Final = 512
"""Pieces of JSON that are made before it is the streams' turn: half a millisecond. There may be ten
thousand legs to tell of."""


class TooMuch(Exception):
    """A body over its limit."""


async def serve(sock: socket.socket, api: Api) -> None:
    """Answer until the client is gone, or says what is no HTTP. Closes the socket."""
    sock.setblocking(False)
    try:
        await Connection(sock, api).serve()
    except (OSError, TimeoutError):
        pass  # It is gone, or might as well be.
    finally:
        sock.close()


class Connection:
    """`sock` is non-blocking, and the caller's."""

    def __init__(self, sock: socket.socket, api: Api) -> None:
        self._sock = sock
        self._api = api
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        # Is the answer to have one? (RFC 9110 §9.3.2)
        self._wants_body = True

    async def serve(self) -> None:
        """Raises OSError, TimeoutError."""
        http = self._http
        while True:
            try:
                with anyio.fail_after(REQUEST_TIMEOUT):
                    request = await self._request()
            except h11.RemoteProtocolError as error:
                await self._turn_away(problem(error.error_status_hint, str(error)))
                return
            except TooMuch:
                await self._turn_away(problem(413, f"a body has at most {MAX_BODY} bytes"))
                return
            if request is None:
                return
            answer = await self._while_there(request)
            if answer is None:
                return
            await self._send(answer)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                return
            http.start_next_cycle()

    # -- in

    async def _request(self) -> Request | None:
        """The next one as a whole; None when the client has no more."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            match await self._event():
                case h11.Request() as head:
                    self._wants_body = head.method != b"HEAD"
                    if self._http.they_are_waiting_for_100_continue:
                        await self._write(
                            self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
                        )
                case h11.Data(data=data):
                    body += data
                    if len(body) > MAX_BODY:
                        raise TooMuch
                case h11.EndOfMessage():
                    assert head is not None
                    return Request(
                        method=head.method.decode(),
                        target=head.target.decode(errors="replace"),
                        headers={k.decode(): v.decode(errors="replace") for k, v in head.headers},
                        body=bytes(body),
                    )
                case _:
                    return None

    async def _event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            await anyio.wait_readable(self._sock)
            try:
                self._http.receive_data(self._sock.recv(CHUNK))
            except (BlockingIOError, InterruptedError):
                pass

    async def _while_there(self, request: Request) -> Answer | None:
        """The answer; None when the client is gone before it: then what it asked for is taken
        back."""
        answer: Answer | None = None

        async def watch() -> None:
            if not await self._says_more():
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            answer = await self._api.answer(request)
            tasks.cancel_scope.cancel()
        return answer

    async def _says_more(self) -> bool:
        """Wait for the client's next bytes, which stay where they are. Returns whether it is there
        still."""
        while True:
            await anyio.wait_readable(self._sock)
            try:
                return bool(self._sock.recv(1, socket.MSG_PEEK))
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                return False

    # -- out

    async def _turn_away(self, answer: Answer) -> None:
        """Answer what is not read to its end. A socket that is closed with bytes in it is reset,
        and the answer lost."""
        await self._send(answer)
        self._sock.shutdown(socket.SHUT_WR)
        with anyio.move_on_after(DISCARD_TIME):
            for _ in range(DISCARDED_CHUNKS):
                if not await self._says_more() or not self._sock.recv(CHUNK):
                    return

    async def _send(self, answer: Answer) -> None:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return  # What is no request has no answer either.
        body = await encoded(answer.body)
        headers = [
            ("Content-Type", JSON),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if answer.allow:
            headers.append(("Allow", answer.allow))
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))
        events: list[h11.Event] = [h11.Response(status_code=answer.status, headers=headers)]
        if self._wants_body:
            events.append(h11.Data(data=body))
        events.append(h11.EndOfMessage())
        with anyio.fail_after(ANSWER_TIMEOUT):
            await self._write(b"".join(self._http.send(event) or b"" for event in events))
        answer.after()

    async def _write(self, data: bytes | None) -> None:
        view = memoryview(data or b"")
        while view:
            try:
                view = view[self._sock.send(view) :]
            except (BlockingIOError, InterruptedError):
                await anyio.wait_writable(self._sock)


async def encoded(body: Mapping[str, object]) -> bytes:
    """As JSON, in turn with everybody else."""
    pieces = json.JSONEncoder().iterencode(body)
    parts = ["".join(some) async for some in in_turn(pieces, PIECES_PER_TURN)]
    return "".join(parts).encode() + b"\n"
