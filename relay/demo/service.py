"""A stand-in for a model server: `python -m relay.demo.service`.

    POST /v1/chat/completions   the part of the OpenAI API that the demonstration needs; with
                                "stream": true an answer as server-sent events, token by token
    GET  /bytes/N               N bytes, as fast as they can be sent

It serves 127.0.0.1 and prints `listening on 127.0.0.1:PORT` to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

TOKENS_PER_SECOND: Final = 30
"""About the speed of a large model, and slow enough for the eye."""

MAX_REQUEST: Final = 1 << 20
"""Bytes of a request's body; a question is shorter."""

_CHUNK: Final = memoryview(bytes(1 << 20))
"""Sent again and again for /bytes/N: large enough that the loop around it costs nothing."""

_ANSWER: Final = (
    "Hello from behind the firewall. Nothing listens here for the outside world: this machine "
    "dialled out to the relay, your laptop dialled out to the relay, and the relay joined the "
    "two. Each of these words came as its own packet, at the moment it was made."
)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client, that is: one stream through the relay."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        if self.path != "/v1/chat/completions":
            self.send_error(404)
            return
        try:
            length = min(int(self.headers.get("Content-Length", "0")), MAX_REQUEST)
            request = json.loads(self.rfile.read(length))
            model, stream = str(request.get("model", "stand-in")), bool(request.get("stream"))
        except (ValueError, AttributeError):
            self.send_error(400, "the body is no JSON object")
            return
        if stream:
            self._stream(model)
        else:
            self._answer(model)

    def do_GET(self) -> None:
        size = self.path.removeprefix("/bytes/")
        if not (size.isascii() and size.isdigit()):
            self.send_error(404)
            return
        self._headers("application/octet-stream", ("Content-Length", size))
        left = int(size)
        while left:
            left -= self.connection.send(_CHUNK[:left])

    def log_message(self, format: str, *args: object) -> None:
        """The relay's own log lines are what the demonstration shows."""

    def _answer(self, model: str) -> None:
        message = {"role": "assistant", "content": _ANSWER}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({"object": "chat.completion", "model": model, "choices": [choice]})
        self._headers("application/json", ("Content-Length", str(len(body))))
        self.wfile.write(body.encode())

    def _stream(self, model: str) -> None:
        self._headers("text/event-stream", ("Transfer-Encoding", "chunked"))
        for event in _events(model):
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def _headers(self, content_type: str, framing: tuple[str, str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header(*framing)
        self.end_headers()


def _events(model: str) -> Iterator[str]:
    """The data of each server-sent event: a chunk for each word, then `[DONE]`."""
    for word in _ANSWER.split(" "):
        delta = {"content": f"{word} "}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield json.dumps({"object": "chat.completion.chunk", "model": model, "choices": [choice]})
        time.sleep(1 / TOKENS_PER_SECOND)
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield json.dumps({"object": "chat.completion.chunk", "model": model, "choices": [last]})
    yield "[DONE]"


class Service(ThreadingHTTPServer):
    """A thread for each connection; a client that goes away is no event."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m relay.demo.service")
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    service = Service(("127.0.0.1", parser.parse_args().port), Handler)
    print(f"listening on 127.0.0.1:{service.server_port}", file=sys.stderr, flush=True)
    try:
        service.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
