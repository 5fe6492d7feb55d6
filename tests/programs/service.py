"""What systemd makes of a unit, as far as a program can see it: its lines are read and played.

The program runs with the account, the environment, the credentials and the file systems that the
unit gives it, in a mount namespace of its own (mount_namespaces(7)), which takes root; the rest of
the machine is as it is. A line that is not known here fails, so that none is printed untried.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.programs.process import Process

USER: Final = 61_184
"""The first of those that DynamicUser= gives away: no passwd file knows it."""

NOT_PLAYED: Final = {
    "ExecReload", "LimitNOFILE", "LockPersonality", "ProtectClock", "ProtectControlGroups",
    "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables",
    "RemoveIPC", "Restart", "RestartSec", "RestrictAddressFamilies", "RestrictNamespaces",
    "RestrictRealtime", "RestrictSUIDSGID", "StateDirectoryMode", "SystemCallArchitectures",
    "SystemCallFilter", "TimeoutStopSec", "Type", "WatchdogSec",
}  # fmt: skip
"""What shows in no file system, environment or account."""

ALWAYS: Final = {
    "CapabilityBoundingSet", "DynamicUser", "NoNewPrivileges", "PrivateDevices", "PrivateTmp",
    "ProcSubset", "ProtectProc", "ProtectSystem", "UMask",
}  # fmt: skip
"""What each unit must have, with the one value that is played."""

VALUES: Final = {
    "DynamicUser": "yes", "NoNewPrivileges": "yes", "PrivateDevices": "yes", "PrivateTmp": "yes",
    "ProcSubset": "pid", "ProtectProc": "invisible", "ProtectSystem": "strict", "UMask": "0077",
}  # fmt: skip

PLAYED: Final = ALWAYS | {
    "AmbientCapabilities", "BindReadOnlyPaths", "Environment", "ExecStart", "LoadCredential",
    "ProtectHome", "RuntimeDirectory", "StateDirectory",
}  # fmt: skip

DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


@dataclass(frozen=True, slots=True)
class Unit:
    """The [Service] section of a unit."""

    program: str
    settings: dict[str, list[str]]

    @classmethod
    def parse(cls, text: str) -> Unit:
        program = re.search(r"^# /etc/systemd/system/([\w-]+)\.service", text, re.MULTILINE)
        assert program is not None, text
        settings: dict[str, list[str]] = {}
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and not line.startswith("#"):
                key, _, value = line.partition("=")
                settings.setdefault(key, []).append(value)
        unit = cls(program[1], settings)
        unit._check()
        return unit

    def _check(self) -> None:
        assert set(self.settings) <= PLAYED | NOT_PLAYED
        assert set(self.settings) >= ALWAYS
        for key, value in VALUES.items():
            assert self.settings[key] == [value]

    def all(self, key: str) -> list[str]:
        """The values of all lines with this key, specifiers expanded."""
        return [self._expanded(line) for line in self.settings.get(key, [])]

    @property
    def credentials(self) -> str:
        return f"/run/credentials/{self.program}.service"

    def _expanded(self, text: str) -> str:
        """SPECIFIERS of systemd.unit(5)"""
        known = {"S": "/var/lib", "t": "/run", "E": "/etc", "d": self.credentials, "%": "%"}
        return re.sub("%(.)", lambda match: known[match[1]], text)

    @property
    def command(self) -> list[str]:
        """COMMAND LINES of systemd.service(5): words, then specifiers and variables in them."""
        (line,) = self.settings["ExecStart"]
        return [self._expanded(word).replace("$$", "$") for word in shlex.split(line)]

    def start(self, folder: Path, state: Path, *environment: str) -> Process:
        """Run it, with `state` for its state folder.

        Its own id is that of the process: each step of the way replaces the one before it.
        """
        script = folder / f"{self.program}.sh"
        script.write_text("\n".join(["set -e", *self._mounts(state), self._exec(environment)]))
        command = ["unshare", "--mount", "--propagation", "private", "sh", str(script)]
        return Process(self.program, command, folder)

    def _exec(self, environment: tuple[str, ...]) -> str:
        variables = {
            "PATH": PATH, "USER": self.program, "LOGNAME": self.program, "LANG": "C.UTF-8",
            "CREDENTIALS_DIRECTORY": self.credentials if self.all("LoadCredential") else "",
            "STATE_DIRECTORY": ":".join(f"/var/lib/{one}" for one in self.all("StateDirectory")),
            "RUNTIME_DIRECTORY": ":".join(f"/run/{one}" for one in self.all("RuntimeDirectory")),
        }  # fmt: skip
        words = [f"{name}={value}" for name, value in variables.items() if value]
        words += self.all("Environment")
        kept = "".join(
            f",+{name.removeprefix('CAP_').lower()}" for name in self.all("CapabilityBoundingSet")
            if name
        )  # fmt: skip
        assert not kept or self.all("AmbientCapabilities") == self.all("CapabilityBoundingSet")
        who = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        who += [f"--{one}=-all{kept}" for one in ("bounding-set", "inh-caps", "ambient-caps")]
        command = [*who, "--no-new-privs", "env", "-i", *words, *environment, *self.command]
        return f"umask 0077\ncd /\nexec {shlex.join(command)}"

    def _mounts(self, state: Path) -> list[str]:
        """The file systems, in the order in which one does not hide what the next one needs."""
        lines = ["mount -t tmpfs -o mode=755 tmpfs /run", "mkdir /run/stage /run/user"]
        staged = [path for line in self.all("BindReadOnlyPaths") for path in shlex.split(line)]
        for number, path in enumerate([*staged, str(state), "/dev"]):
            lines += [
                f"mkdir /run/stage/{number}",
                f"mount --rbind {shlex.quote(path)} /run/stage/{number}",
            ]
        lines += self._credentials()
        home = self.settings["ProtectHome"]
        assert home in (["yes"], ["tmpfs"])
        mode = "000" if home == ["yes"] else "755"
        for path in ("/home", "/root", "/run/user"):
            lines.append(f"test ! -d {path} || mount -t tmpfs -o mode={mode} tmpfs {path}")
        lines += [f"mount -t tmpfs -o mode=1777 tmpfs {path}" for path in ("/tmp", "/var/tmp")]
        for number, path in enumerate(map(shlex.quote, staged)):
            lines += [f"mkdir -p {path}", f"mount --rbind /run/stage/{number} {path}"]
        lines += self._state(f"/run/stage/{len(staged)}")
        lines += self._devices(f"/run/stage/{len(staged) + 1}")
        lines += ["umount -l /run/stage/*", "rmdir /run/stage/* /run/stage"]
        lines += [
            "for at in $(awk '{ print $5 }' /proc/self/mountinfo); do case $at in",
            "/dev*|/proc*|/sys*|/tmp|/var/tmp|/var/lib/private/*|/run/relay-*) ;;",
            "*) mount -o remount,bind,ro $at 2>/dev/null || ! test -w $at ;; esac; done",
            "mount -t proc -o hidepid=invisible,subset=pid proc /proc",
        ]
        return lines

    def _credentials(self) -> list[str]:
        """ "copied into the credentials directory", which is the service's alone to read"""
        lines = [f"mkdir -p {self.credentials}", f"mount -t tmpfs tmpfs {self.credentials}"]
        for line in self.all("LoadCredential"):
            name, _, path = line.partition(":")
            assert path.startswith("/"), line
            to = f"{self.credentials}/{shlex.quote(name)}"
            lines += [f"cp {shlex.quote(path)} {to}", f"chmod 0400 {to}"]
        lines += [f"chown -R {USER}:{USER} {self.credentials}", f"chmod 0500 {self.credentials}"]
        return lines

    def _state(self, staged: str) -> list[str]:
        """With DynamicUser= it lies in `private`, and what is in it is given to the account."""
        lines = ["mount -t tmpfs -o mode=755 tmpfs /var/lib", "mkdir /var/lib/private"]
        (name,) = self.all("StateDirectory")
        at = f"/var/lib/private/{name}"
        lines += [f"mkdir {at}", f"mount --bind {staged} {at}", f"chown -R {USER}:{USER} {at}"]
        lines += [f"chmod 0700 {at}", f"ln -s private/{name} /var/lib/{name}"]
        for name in self.all("RuntimeDirectory"):
            lines += [
                f"mkdir /run/{name}", f"mount -t tmpfs -o mode=755 tmpfs /run/{name}",
                f"chown {USER}:{USER} /run/{name}",
            ]  # fmt: skip
        return lines

    def _devices(self, staged: str) -> list[str]:
        lines = ["mount -t tmpfs -o mode=755 tmpfs /dev"]
        for name in DEVICES:
            lines += [f"touch /dev/{name}", f"mount --bind {staged}/{name} /dev/{name}"]
        return [*lines, "ln -s /proc/self/fd /dev/fd", "mkdir -m 1777 /dev/shm"]


def find_namespaces() -> None:
    """Skip the test where no namespace can be made; in CI it fails."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("setpriv") is None:
        missing = "a unit is played by root on Linux, with unshare and setpriv"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
