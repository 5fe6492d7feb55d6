"""A program that tells what it was started with, and ends as it is told."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from typing import Any


def main() -> Any:
    folder = "/proc/self/fd"
    about = {
        "words": sys.argv,
        "path": sys.path[0],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": os.umask(0),
        # Beside the one by which it reads the folder.
        "descriptors": sorted(map(int, os.listdir(folder)))[:-1],
        "streams": [os.readlink(f"{folder}/{number}").partition("[")[0] for number in range(3)],
        "signals": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "threads": threading.active_count(),
        "buffered": [stream.write_through for stream in (sys.stdout, sys.stderr)],
        "flags": str(sys.flags),
    }
    print(json.dumps(about))
    print(os.urandom(16).hex(), random.random())
    sys.stdin.read()
    match sys.argv[1:]:
        case ["end", code]:
            return int(code)
        case ["say", text]:
            return text
        case ["wait"]:
            return signal.pause()
        case ["raise"]:
            raise ValueError
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
    return None


if __name__ == "__main__":
    raise SystemExit(main())
