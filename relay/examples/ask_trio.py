"""Ask a model server behind a relay, on trio (where a stream has trio's own methods too)."""

import sys
from functools import partial

import trio

import relay

REQUEST = b"GET /v1/models HTTP/1.0\r\nHost: model\r\n\r\n"


async def main(destination: str, service: str, config: str | None = None) -> None:
    with trio.fail_after(60):
        async with (
            relay.connect(destination, config=config) as tunnel,
            await tunnel.open(service) as stream,
        ):
            await stream.send(REQUEST)
            async for data in stream:
                print(data.decode(), end="")


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
