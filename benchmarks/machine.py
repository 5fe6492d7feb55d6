"""What the figures depend on besides the code."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]


def describe() -> dict[str, str]:
    """The machine."""
    return {
        "cpu": _cpu_model(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "congestion control": _congestion_control(),
    }


def python_version() -> dict[str, str]:
    """The interpreter of every program in Python."""
    return {"python": f"{platform.python_implementation()} {platform.python_version()}"}


class Bystanders:
    """What others did with the machine meanwhile.

    They lower all throughputs, and hardly the CPU seconds per GB: with a large share of theirs,
    trust the latter.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._theirs = _busy_seconds() - _own_seconds()

    def describe(self) -> dict[str, str]:
        """Call it when all processes of ours have ended: only then is their time known."""
        theirs = _busy_seconds() - _own_seconds() - self._theirs
        cores = max(theirs / (time.monotonic() - self._began), 0.0)
        return {"cores busy with other work": f"{cores:.1f}"}


def _busy_seconds() -> float:
    """CPU time of the whole machine but for its idling; what the hypervisor took is included."""
    spent = psutil.cpu_times()
    return float(spent.user + spent.system + spent.irq + spent.softirq + spent.nice + spent.steal)


def _own_seconds() -> float:
    """Ours, and that of our processes which have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _congestion_control() -> str:
    """What sockets get that ask for none. BBR costs a timer for each send, cubic next to nothing,
    and on loopback that decides as much as the programs do."""
    try:
        return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    except OSError:
        return "unknown"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
