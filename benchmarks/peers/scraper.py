"""Scrapes B's metrics once a second, as Prometheus does.

    python -m benchmarks.peers.scraper PORT [PATH]

It says so after each answer: `1: scraped 2345 bytes`.
"""

from __future__ import annotations

import sys
import time
from http.client import HTTPConnection
from itertools import count

INTERVAL_SECONDS = 1.0


def main(port: int, path: str) -> None:
    for number in count(1):
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {body[:200]!r}")
        print(f"{number}: scraped {len(body)} bytes", flush=True)
        time.sleep(INTERVAL_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/metrics")
