"""What holds for all tests: where they run, and which are quick or slow.

A run is spread over several processes (pytest-xdist), two for each core, since most tests wait for
a program most of the time. So no test relies on what another did or on being alone: ports are the
kernel's choice, files are in `tmp_path`, a fixture of a module or the session exists once for each
process, and a parameter has the same name in all of them (no random key in an id). What is named by
file or test runs in one process, as it is written.

The whole suite stays under six minutes on two cores. A new test that takes ten seconds or more is
marked `@pytest.mark.slow`: a run begins with these, so that no process is left alone with one at
the end. None takes more than a minute: what a program waits for is set by its flags, and what our
code waits for by a clock of the test's.

`pytest -m quick` is for every save of a file: all that starts no program, and one chain. It is
chosen here by the folder, so a new test of a pure module is in by itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

HERE: Final = Path(__file__).parent

QUICK: Final = frozenset(
    {
        "opener",
        "core",
        "fuzz",
        "http",
        "io",
        "life",
        "observe",
        "ssh",
        "sshconfig",
        "trust",
        "wire",
    }
)
"""Folders whose tests start no program."""

QUICK_TESTS: Final = frozenset(
    {
        "test_layers.py",
        "cli/test_options.py",
        "cli/test_settings.py",
        "cli/test_units.py",
        "programs/test_streams.py::test_a_client_that_has_asked_still_gets_its_answer",
    }
)
"""The rest of them, and the one chain."""

MOST_PROCESSES: Final = 12

# Where Python may not keep what it has compiled, each process of a run compiles all tests, and each
# program that it starts all modules: half a minute.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No test fails by a time, and a busy machine is no fault of an example.
settings.register_profile("relay", deadline=None)
# Which branches are taken shows in few examples, each of them slower while that is watched; and the
# same ones each time, so that a branch is not missed by chance.
settings.register_profile(
    "coverage", deadline=None, max_examples=6, stateful_step_count=25, derandomize=True
)
settings.load_profile("relay")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "draw the pictures of the README anew (tests/programs/test_page.py)"
    parser.addoption("--pictures", action="store_true", help=text)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two for each core; none to help where files or tests are named."""
    if all(".py" in argument for argument in config.args):
        return 0
    return min(2 * (os.cpu_count() or 1), MOST_PROCESSES)


def pytest_itemcollected(item: pytest.Item) -> None:
    if is_quick(item):
        item.add_marker("quick")


def is_quick(item: pytest.Item) -> bool:
    file = item.path.relative_to(HERE)
    test = f"{file.as_posix()}::{item.name}"
    return file.parts[0] in QUICK or not QUICK_TESTS.isdisjoint({file.as_posix(), test})


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, dealt out to the processes: each begins with an equal part of the list."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = [item for item in items if not item.get_closest_marker("slow")]
    dealt: list[pytest.Item] = []
    for number in range(processes):
        end = len(items) * (number + 1) // processes
        dealt += slow[number::processes]
        missing = max(0, end - len(dealt))
        dealt += rest[:missing]
        del rest[:missing]
    assert len(dealt) == len(items)
    items[:] = dealt
