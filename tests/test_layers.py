"""The layers: an import goes only downwards, and each outside name has its one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import relay

ROOT: Final = Path(relay.__file__).parent

LAYERS: Final[list[set[str]]] = [
    {"relay.errors", "relay.system"},
    {"relay.events"},
    {"relay.wire"},
    {"relay.core"},
    {"relay.observe"},
    {"relay.sshconfig"},
    {"relay.trust"},
    {"relay.settings"},
    {"relay.io", "relay.life"},
    {"relay.ssh", "relay.http"},
    {"relay.httpx", "relay.httpx2"},
    {"relay.server", "relay.agent", "relay.opener"},
    {"relay.control"},
    {"relay.web"},
    {"relay.cli"},
    {"relay.library"},
    {"relay.asgi", "relay.sync"},
    {"relay.demo", "relay.examples"},
]
"""From the lowest to the highest. Those of one layer do not import one another."""

HEIGHT: Final = {part: height for height, layer in enumerate(LAYERS) for part in layer}

INPUT_AND_OUTPUT: Final = {
    "anyio", "asyncio", "asyncssh", "datetime", "io", "os", "pathlib", "select", "selectors",
    "socket", "ssl", "subprocess", "threading", "time", "trio",
}  # fmt: skip
"""What a layer without sockets, event loop and clock has no use for."""


NOT_EVERYWHERE: Final = {
    "AF_UNIX", "O_CLOEXEC", "SIGHUP", "add_signal_handler", "chown", "fchmod", "fork", "geteuid",
    "getgid", "getuid", "mkfifo", "open_unix_connection", "recvmsg", "sendmsg", "start_unix_server",
}  # fmt: skip
NO_MODULES_EVERYWHERE: Final = {"fcntl", "grp", "pwd", "resource", "termios", "uvloop"}
"""What Windows' Python lacks, and what a module uses by the names in relay/system.py."""

SYSTEM: Final = "relay.system"
"""That place."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES: Final = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> Iterator[str]:
    """The full names of what a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(MODULES[module].read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def outside(module: str) -> set[str]:
    """The top-level names that a module imports from elsewhere."""
    return {name.partition(".")[0] for name in imports_of(module)} - {"relay"}


DOOR: Final = "relay"
"""What users import. It has names of above, and imports them when they are asked for: nobody who
imports it is kept waiting for them, and no module of below finds itself in a circle."""


def part_of(name: str) -> str | None:
    """The part of the relay that a name belongs to; None for `relay` itself, below them all."""
    package, *rest = name.split(".")
    if package != "relay" or not rest or rest[0].startswith("__"):
        return None
    return f"relay.{rest[0]}"


every_module = pytest.mark.parametrize("module", MODULES)


def test_every_part_has_a_layer() -> None:
    assert {part_of(module) for module in MODULES} - {None} == set(HEIGHT)


@pytest.mark.parametrize("module", [name for name in MODULES if name != DOOR])
def test_an_import_goes_only_downwards(module: str) -> None:
    part = part_of(module)
    height = HEIGHT[part] if part else -1
    imported = {part_of(name) for name in imports_of(module)} - {None, part}
    assert {name for name in imported if name and HEIGHT[name] >= height} == set()


def test_asyncssh_is_known_to_its_host_and_to_those_who_read_keys() -> None:
    importing = {module for module in MODULES if "asyncssh" in outside(module)}
    assert {part_of(module) for module in importing} <= {"relay.ssh", "relay.trust"}


PURE: Final = {"relay.wire", "relay.core"}


@pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) in PURE])
def test_the_core_is_bytes_in_bytes_out(module: str) -> None:
    assert outside(module) & INPUT_AND_OUTPUT == set()


@pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) == "relay.settings"])
def test_settings_say_what_there_is_and_read_nothing(module: str) -> None:
    by_name_only = {"os", "pathlib"}  # Of files: what they are called.
    assert outside(module) & (INPUT_AND_OUTPUT | {"argparse"}) <= by_name_only


@pytest.mark.parametrize("module", [name for name in MODULES if name != SYSTEM])
def test_what_not_every_system_has_is_asked_of_one_place(module: str) -> None:
    tree = ast.parse(MODULES[module].read_bytes())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert (used & NOT_EVERYWHERE) | (outside(module) & NO_MODULES_EVERYWHERE) == set(), (
        "not there on Windows: relay/system.py has it for every system"
    )
