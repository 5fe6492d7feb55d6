"""A relay-server in this process, and a tunnel through it, in one loop."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

import relay
from relay.trust.hostkeys import create_key
from tests.library.test_tunnel import echoed, exchange


def state(folder: Path, key: Path) -> Path:
    made, _ = create_key(key, comment="test")
    folder.mkdir(mode=0o700)
    (folder / "authorized_keys").write_bytes(made.export_public_key())
    return folder


async def test_a_server_and_a_tunnel_in_one_loop(tmp_path: Path) -> None:
    key = tmp_path / "key"
    folder = state(tmp_path / "state", key)
    async with relay.serve(listen="127.0.0.1:0", state_dir=folder, drain=0) as server:
        host, _, port = server.addresses[0].rpartition(":")
        known = tmp_path / "known_hosts"
        known.write_text(f"[{host}]:{port} {server.host_key}\n")
        options = {"IdentityAgent": "none"}
        async with (
            relay.connect(
                f"user@{host}", port=int(port), identity=key, known_hosts=known, config="none",
                options=options,
            ) as tunnel,
            echoed(tunnel, "here:1"),
            await tunnel.open("here:1") as stream,
        ):  # fmt: skip
            await exchange(stream)


async def test_two_servers_in_one_loop(tmp_path: Path) -> None:
    folders = [state(tmp_path / name, tmp_path / f"{name}_key") for name in ("one", "two")]
    async with (
        relay.serve(listen="127.0.0.1:0", state_dir=folders[0], drain=0) as one,
        relay.serve(listen="127.0.0.1:0", state_dir=folders[1], drain=0) as two,
    ):
        assert one.addresses != two.addresses
        assert one.host_key != two.host_key
        with pytest.raises(relay.AddressError):
            async with relay.serve(listen=one.addresses[0], state_dir=folders[1]):
                pass


async def test_a_server_that_is_cancelled_is_gone(tmp_path: Path) -> None:
    folder = state(tmp_path / "state", tmp_path / "key")
    addresses: list[str] = []
    with anyio.move_on_after(0.2):
        async with relay.serve(listen="127.0.0.1:0", state_dir=folder, drain=0) as server:
            addresses += server.addresses
            await anyio.sleep_forever()
    host, _, port = addresses[0].rpartition(":")
    with pytest.raises(OSError):  # noqa: PT011
        await anyio.connect_tcp(host, int(port))
