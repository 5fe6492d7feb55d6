"""asyncssh's own tests, out of the source distribution of the version that is installed."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = "asyncssh_tests"
"""Theirs is called `tests`, as ours is."""

REPOSITORY: Final = Path(__file__).parents[2]

PATIENCE: Final = 240
"""Seconds for one file of tests; the slowest takes half a minute. Less than pytest's `timeout`."""


class Unavailable(Exception):
    """The source distribution cannot be had: no network, or no pip."""


def fetch_tests(cache: pytest.Cache) -> Path:
    """The folder that holds the tests as a package `PACKAGE`; it lives in pytest's cache."""
    installed = version("asyncssh")
    folder = cache.mkdir(f"asyncssh-{installed}")
    # Several processes of one run may want them, and one fetches them.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / PACKAGE).is_dir():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                source = _download(installed, Path(scratch))
                os.replace(source / "tests", folder / PACKAGE)
    return folder


def _download(wanted: str, folder: Path) -> Path:
    """The unpacked source distribution, in `folder`."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps"]
    options = ["--no-binary", "asyncssh", "--dest", folder, f"asyncssh=={wanted}"]
    done = subprocess.run([*pip, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"pip cannot download asyncssh {wanted}: {done.stderr.strip()[-500:]}")
    (archive,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(archive, folder)
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    about = (source / "PKG-INFO").read_text(encoding="utf-8")
    found = re.search(r"^Version: (.+)$", about, re.MULTILINE)
    assert found, f"no version in {archive.name}"
    assert found[1] == wanted, f"{archive.name} is {found[1]}, installed is {wanted}"
    return source


def run(folder: Path, legs: str, tests: list[str]) -> tuple[dict[str, str], str]:
    """Run tests (files, or `file::class::test`), but for those of channels; returns how each went,
    and what was printed."""
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = Path(scratch, "outcomes")
        command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
        command += ["-c", os.devnull, "--rootdir", str(folder)]  # Not our configuration.
        command += ["-p", "tests.conformance.plugin", f"--legs={legs}", f"--outcomes={outcomes}"]
        done = subprocess.run(
            [*command, *(f"{PACKAGE}/{test}" for test in tests)],
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if "PYTEST" not in name},
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONPATH": str(REPOSITORY),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode in (0, 1), done.stdout
        return json.loads(outcomes.read_text()), done.stdout
