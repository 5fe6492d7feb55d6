"""What a systemd service sees of this machine, and what its unit must say so that it sees enough.

A service of ours has an account that exists while it runs, and a file system that it cannot write
to but for its state folder, which is its home too; users' homes and temporary files are hidden. So
whoever prints a unit is told here what would keep it from starting, while somebody is there to
read it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import relay
from relay.errors import UsageError

HOMES: Final = ("/home", "/root", "/run/user")
"""ProtectHome= of systemd.exec(5)"""

TEMPORARY: Final = ("/tmp", "/var/tmp")
"""PrivateTmp= of systemd.exec(5)"""

STATE: Final = Path("/var/lib")
RUNTIME: Final = Path("/run")

PRIVILEGED_PORTS: Final = range(1, 1024)
"""CAP_NET_BIND_SERVICE of capabilities(7)"""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_A_NAME: Final = re.compile(r"[^\w.-]", re.ASCII)


class Specified(str):
    """A word in which systemd's own specifiers stand (%S, %d)."""


class Service:
    """What one unit says of files, gathered while its command line is made."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.state = program
        # By name, the files that systemd reads as root and hands over.
        self.credentials: dict[str, Path] = {}
        self.lines: list[str] = []

    def command(self) -> str:
        """The full path of the program, which systemd wants, with what it needs made visible."""
        path = Path(sys.prefix) / "bin" / self.program
        if not path.exists():
            found = shutil.which(self.program)
            if found is None:
                raise UsageError(f"--print-unit: {self.program} is not installed: use pip install")
            path = Path(found).absolute()
        package = Path(relay.__file__).parent
        trees = _outermost(_hiding(one) for one in (sys.prefix, sys.base_prefix, package))
        library = importlib.util.find_spec("asyncssh")
        assert library is not None
        for needed in (path, Path(library.origin or path)):
            if _hidden(needed) and not any(needed.is_relative_to(tree) for tree in trees):
                problem = "a service does not see it there: install it in a virtual environment"
                raise UsageError(f"--print-unit: {needed}: {problem} (python3 -m venv)")
        for needed in (path, Path(sys.executable).resolve(), package / "__init__.py"):
            _require_readable(needed, trees, "-R ")
        if any(_below(tree, HOMES) for tree in trees):
            self.lines.append("ProtectHome=tmpfs")
        else:
            self.lines.append("ProtectHome=yes")
        self.lines += [f"BindReadOnlyPaths={quoted(str(tree))}" for tree in trees]
        return str(path)

    def hand_over(self, path: Path) -> Specified:
        """Give the service a file that is not everybody's to read, or not where it could read it;
        the word by which it finds its copy."""
        path = path.absolute()
        if not path.is_file():
            raise UsageError(f"--print-unit: {path}: there is no such file")
        name = _NOT_IN_A_NAME.sub("_", path.name)
        while self.credentials.get(name, path) != path:
            name = f"_{name}"
        self.credentials[name] = path
        return Specified(f"%d/{name}")

    def reads(self, path: Path) -> Path:
        """A file that the service reads where it is, since it may change; its full path."""
        path = path.absolute()
        if path.is_relative_to(STATE / self.state):
            return path
        if _hidden(path):
            problem = "a service does not see it there"
            raise UsageError(f"--print-unit: {path}: {problem}: put it into /etc/{self.program}")
        if not path.is_file():
            raise UsageError(f"--print-unit: {path}: there is no such file")
        _require_readable(path, [], "")
        return path

    def trusts(self, path: Path) -> Path:
        """The same of a file that says who gets in: it must be root's, since the service is not
        the account that wrote it."""
        path = self.reads(path)
        if not path.is_relative_to(STATE / self.state) and os.stat(path).st_uid:
            problem = "belongs to another user than root and the service"
            raise UsageError(f"--print-unit: {path} {problem}: `chown root {path}`")
        return path

    def keeps_state(self, path: Path, default: Path) -> None:
        """The state folder: only one below /var/lib can be the service's own."""
        if path == default:
            return
        if path.parent != STATE:
            ours = STATE / self.program
            raise UsageError(
                f"--print-unit: a service keeps its state in {ours}: leave out --state-dir {path}, "
                f"and bring what is there with `cp -rT {path.absolute()} {ours}`"
            )
        self.state = path.name

    def listens(self, ports: Iterable[int]) -> None:
        """The ports that it opens, of which the low ones are not for everybody."""
        if any(port in PRIVILEGED_PORTS for port in ports):
            capability = "CAP_NET_BIND_SERVICE"
            self.lines.append(f"AmbientCapabilities={capability}")
            self.lines.append(f"CapabilityBoundingSet={capability}")
        else:
            self.lines.append("CapabilityBoundingSet=")

    def makes_sockets(self, paths: Iterable[str]) -> None:
        """The unix sockets that it opens."""
        folder = RUNTIME / self.program
        given = [path for path in paths if path]
        for path in given:
            if Path(path).parent != folder:
                raise UsageError(f"--print-unit: {path}: a service may make it in {folder} only")
        if given:
            self.lines.append(f"RuntimeDirectory={self.program}")


def quoted(word: str) -> str:
    """One word of a line (systemd.syntax(7), QUOTING), specifiers doubled."""
    if _CONTROL.search(word):
        raise UsageError(f"--print-unit: {word!r}: a unit has no place for control characters")
    plain = word if isinstance(word, Specified) else word.replace("%", "%%")
    plain = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"' if not word or any(c in word for c in " \t'\";#\\") else plain


def _below(path: Path, folders: Iterable[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _hidden(path: Path) -> bool:
    return _below(path, HOMES + TEMPORARY)


def _hiding(place: str | Path) -> Path | None:
    """A folder, if the service would not see it."""
    return Path(place) if _hidden(Path(place)) else None


def _outermost(places: Iterable[Path | None]) -> list[Path]:
    found = {place for place in places if place is not None}
    inner = {one for one in found for other in found if one != other and one.is_relative_to(other)}
    return sorted(found - inner)


def _require_readable(path: Path, trees: Iterable[Path], recursively: str) -> None:
    """Raise UsageError unless every account may read the file; `trees` are shown to the service
    as they are, whatever is above them."""
    above = [
        folder for folder in path.parents if not any(tree.is_relative_to(folder) for tree in trees)
    ]
    above += [tree for tree in trees if path.is_relative_to(tree)]
    for one, needed in ((path, stat.S_IROTH), *((folder, stat.S_IXOTH) for folder in above)):
        if not os.stat(one).st_mode & needed:
            mend = f"chmod {recursively}{'o+rX' if recursively or one != path else 'o+r'} {one}"
            raise UsageError(
                f"--print-unit: {one}: the service's account could not read it: `{mend}`"
            )
