"""Several workers behind one name: the server deals the streams out (`--share-services` on B, and
for each key a permitlisten that names the service). Each worker has a key and a connection of its
own, as on a machine of its own."""

import sys
from functools import partial

import anyio

import relay


async def answer(number: int, stream: relay.Stream) -> None:
    await stream.send(f"worker {number}\n".encode())
    await stream.send_eof()
    async for _ in stream:
        pass  # What it was asked.


async def work(destination: str, service: str, config: str, identity: str, number: int) -> None:
    async with (
        relay.connect(destination, config=config, identity=identity) as tunnel,
        tunnel.listen(service, share=True) as listener,
    ):
        print(f"worker {number} serves {listener.address}", flush=True)
        await listener.serve(partial(answer, number))


async def main(destination: str, service: str, config: str, *identities: str) -> None:
    async with anyio.create_task_group() as tasks:
        for number, identity in enumerate(identities):
            tasks.start_soon(work, destination, service, config, identity, number)


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:]))
