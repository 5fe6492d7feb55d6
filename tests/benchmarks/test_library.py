"""The part `library`: each user moves what it is asked to; who cannot run is left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.context import Context, Settings
from benchmarks.errors import StartError
from benchmarks.parts import library


@pytest.mark.slow
def test_every_user_moves_bytes_through_the_chain(capsys: pytest.CaptureFixture[str]) -> None:
    result = library.run(Context(Settings(rounds=1, size_mib=4)))
    assert not result.notes, capsys.readouterr().err
    assert result.measures() == [library.DOWN, library.UP, library.P50]
    assert {row.chain for row in result.series} == set(library.USERS)
    assert all(sample > 0 for row in result.series for sample in row.samples)


def test_a_user_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="nobody"):
        library.User("nobody", ["1", "key", "known_hosts", "gpu1:8000", "2"], tmp_path)


def test_a_user_ends_with_its_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.users", "port-sync"]
    command += ["1", "key", "known_hosts", "gpu1:8000", "2"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=True)
    assert done.stdout == "ready\n"
