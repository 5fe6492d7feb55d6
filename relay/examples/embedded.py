"""A relay-server, a service and a client in one process, as for a test of one's own."""

import subprocess
import tempfile
from pathlib import Path

import anyio

import relay


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state, key, known_hosts = folder / "state", folder / "key", folder / "known_hosts"
        state.mkdir(mode=0o700)
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(keygen, check=True)  # noqa: ASYNC221  # Nothing else goes on yet.
        (state / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
        async with relay.serve(listen="127.0.0.1:0", state_dir=state, drain=0) as server:
            host, _, port = server.addresses[0].rpartition(":")
            known_hosts.write_text(f"[{host}]:{port} {server.host_key}\n")
            async with (
                relay.connect(
                    f"me@{host}", port=int(port), identity=key, known_hosts=known_hosts,
                    config="none",
                ) as tunnel,
                tunnel.listen("echo:1") as listener,
                anyio.create_task_group() as tasks,
            ):  # fmt: skip
                tasks.start_soon(listener.serve, echo)
                async with await tunnel.open("echo:1") as stream:
                    await stream.send(b"hello")
                    print((await stream.receive()).decode())
                tasks.cancel_scope.cancel()


async def echo(stream: relay.Stream) -> None:
    async for data in stream:
        await stream.send(data)


if __name__ == "__main__":
    anyio.run(main)
