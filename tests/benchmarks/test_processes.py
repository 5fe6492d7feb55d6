"""Processes are waited for, and leave nothing behind."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.errors import StartError
from benchmarks.processes import Process, cpu_seconds, one_core, raise_descriptor_limit

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
time.sleep(60)
"""


def test_a_process_is_stopped_with_its_descendants(tmp_path: Path) -> None:
    process = Process("parent", [sys.executable, "-c", PARENT], tmp_path)
    try:
        child = int(process.wait_for(r"^child (\d+)$")[1])
        pids = process.pids()
        assert child in pids
        assert process.cpu_seconds() > 0
    finally:
        process.stop()
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_process_that_ends_early_is_quoted(tmp_path: Path) -> None:
    process = Process("b", [sys.executable, "-c", "import sys; sys.exit('no such key')"], tmp_path)
    with pytest.raises(StartError, match="b ended with 1: no such key"):
        process.wait_for("ready")
    process.stop()


def test_memory_is_that_of_the_descendants_too(tmp_path: Path) -> None:
    process = Process("parent", [sys.executable, "-c", PARENT], tmp_path)
    try:
        process.wait_for(r"^child (\d+)$")
        assert process.memory() > 0
    finally:
        process.stop()
    assert process.memory() == 0


def test_a_process_stays_on_the_core_of_its_parent(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        process = Process("parent", [sys.executable, "-c", PARENT], tmp_path)
    try:
        assert len(os.sched_getaffinity(process.pids()[0])) == 1
        assert os.sched_getaffinity(0) == before
    finally:
        process.stop()


def test_the_limit_of_descriptors_is_the_hard_one() -> None:
    limit = raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limit, limit)


def test_the_clock_of_nobody_stands_at_zero() -> None:
    assert cpu_seconds(2**22 + 1) == 0
