"""The part as a whole, on the chain that needs nothing installed. No figure is judged."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

import relay
from benchmarks import load, service
from benchmarks.__main__ import main
from benchmarks.chains import AGAINST, CHAINS, PLAIN
from benchmarks.context import Context, Settings, Standing
from benchmarks.errors import BrokenError
from benchmarks.parts import throughput
from benchmarks.processes import python


def test_every_measure_gets_a_sample_a_round() -> None:
    context = Context(Settings(rounds=2, size_mib=1, only=(PLAIN,)))
    result = throughput.run(context)
    assert result.measures() == [
        "download C→A, MiB/s",
        "upload A→C, MiB/s",
        "CPU on B, s/GB",
        "CPU on A, s/GB",
        "CPU on C, s/GB",
    ]
    assert all(row.chain == PLAIN and len(row.samples) == 2 for row in result.series)
    assert all(row.lowest > 0 for row in result.series)
    assert not context.failed


def test_another_checkout_is_one_more_peer(tmp_path: Path) -> None:
    """Its programs run, and not ours: here they are ours, with another version."""
    package = shutil.copytree(Path(relay.__file__).parent, tmp_path / "relay")
    (package / "__init__.py").write_text('__version__ = "0.0.0-other"\n')
    asked = python("relay.cli.server", "--version", checkout=tmp_path)
    ran = subprocess.run(asked, capture_output=True, text=True, check=True, cwd="/")
    assert "0.0.0-other" in ran.stdout
    context = Context(Settings(rounds=1, size_mib=1, only=(AGAINST,), against=tmp_path))
    result = throughput.run(context)
    assert {row.chain for row in result.series} == {AGAINST}
    assert AGAINST in result.baselines


def test_what_is_no_checkout_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["throughput", "--against", str(tmp_path)])
    assert "is no checkout of the relay" in capsys.readouterr().err


@pytest.mark.parametrize("transfer", [load.download, load.upload])
def test_a_stream_that_ends_early_is_no_result(transfer: object) -> None:
    near, far = socket.socketpair()

    def half_a_service() -> None:
        with far:
            service.read_line(far)
            far.sendall(service.READY)
            far.recv(1)

    thread = threading.Thread(target=half_a_service)
    thread.start()
    with near, pytest.raises((BrokenError, OSError)):
        transfer(near, 64 << 20)  # type: ignore[operator]
    thread.join()


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["--rounds", "0"],
        ["throughput", "--chain", "pigeon"],
        ["legs", "--end-to-end"],
        ["compare"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m benchmarks" in capsys.readouterr().err


def test_what_breaks_a_chain_is_told_with_its_name() -> None:
    context = Context(Settings(rounds=1, size_mib=1))
    with context.chains({PLAIN: CHAINS.chains[PLAIN]}) as standing:
        assert isinstance(standing, Standing)
        standing.chains[PLAIN].b.stop()
        with (
            pytest.raises(BrokenError, match="plain tcp broke under load"),
            standing.using(PLAIN) as chain,
        ):
            load.download(chain.connect(), 1)
