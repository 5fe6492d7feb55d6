"""`relay-server -O COMMAND`: look at a running relay-server, and change it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from relay.cli.table import age, size, table
from relay.control.client import Answered, ask
from relay.control.limits import PAGE_ROWS
from relay.control.place import SERVER_SOCKET
from relay.errors import RelayError, UsageError
from relay.observe.log import printable

PROGRAM: Final = "relay-server"

LISTS: Final = ("legs", "services", "streams")
SHOWN: Final = ("status", *LISTS)

REPAINTED: Final = 1.0
"""Seconds between two looks of --watch."""

_CLEAR: Final = "\x1b[H\x1b[2J"

Row = Mapping[str, Any]


def check(name: str, what: str | None, *, as_json: bool, watch: bool) -> None:
    """Raises UsageError."""
    if (what is not None) != (name == "kick"):
        raise UsageError("-O kick WHAT: a key (SHA256:…), a leg (12), a service, a stream (12.3)")
    if (as_json or watch) and name not in SHOWN:
        raise UsageError(f"--json and --watch are for -O {', '.join(SHOWN)}")


def run(name: str, what: str | None, state_dir: Path, *, as_json: bool, watch: bool) -> int:
    """Do it, say what is to be said, and return the exit code."""
    path = state_dir / SERVER_SOCKET
    try:
        if name in SHOWN:
            return _show(path, name, as_json=as_json, watch=watch)
        body = {"what": what} if name == "kick" else None
        answer = ask(path, "POST", f"/v1/{name}", body=body)
        if not _failed(answer):
            print("\n".join(map(printable, _said(name, answer.body))))
        return int(bool(answer.error))
    except RelayError as error:
        print(f"{PROGRAM}: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 0


def _show(path: Path, name: str, *, as_json: bool, watch: bool) -> int:
    while True:
        # Who watches sees one screen of it, and B makes no more.
        most = _rows_of_screen() if watch and not as_json else None
        answer = _whole(path, name, most) if name in LISTS else ask(path, "GET", f"/v1/{name}")
        if _failed(answer):
            return 1
        if as_json:
            print(json.dumps(answer.body, indent=None if watch else 2), flush=True)
        else:
            text = "\n".join(map(printable, lines(name, answer.body)))
            print(_CLEAR * watch + text, flush=True)
        if not watch:
            return 0
        time.sleep(REPAINTED)


def _whole(path: Path, name: str, most: int | None) -> Answered:
    """A list with all its pages, or its first `most` rows."""
    query = {} if most is None else {"limit": str(min(most, PAGE_ROWS))}
    rows: list[Row] = []
    while True:
        answer = ask(path, "GET", f"/v1/{name}", query=query)
        if answer.error:
            return answer
        rows += answer.body[name]
        following = answer.body["next"]
        if following is None or most is not None:
            break
        query = {"after": following}
    # As one page, and how many there are now.
    body = {**answer.body, name: rows}
    if most is None:
        body["total"] = len(rows)
    return Answered(answer.status, body)


def _rows_of_screen() -> int:
    """What fits with its head, with what is said of the others, and with the cursor's line."""
    return max(1, shutil.get_terminal_size().lines - 3)


def _failed(answer: Answered) -> bool:
    if answer.error:
        print(f"{PROGRAM}: {printable(answer.error)}", file=sys.stderr)
    return bool(answer.error)


def _said(name: str, body: Row) -> list[str]:
    if name == "reload":
        return ["configuration read again"]
    if name == "drain":
        return [f"{PROGRAM} ends when its streams do (there are {body['streams']})"]
    kinds = (("leg", "legs"), ("service", "services"), ("stream", "streams"))
    return [f"ended {one} {which}" for one, many in kinds for which in body[many]]


def lines(name: str, body: Row) -> list[str]:
    """An answer for a person."""
    if name == "status":
        return _status(body)
    heads, row = _TABLES[name]
    rows = body[name]
    shown = table(heads, map(row, rows))
    if body["next"] is not None:
        shown.append(f"... and {body['total'] - len(rows)} more")
    return shown


def _status(body: Row) -> list[str]:
    rows = [
        ("legs", f"{body['legs']} (connections: {body['connections']})"),
        (
            "services",
            f"{body['services']} (down: {body['services_down']}, without their agent: "
            f"{body['services_held']})",
        ),
        ("streams", f"{body['streams']} ({body['streams_opened']} since the start)"),
        ("bytes", f"{size(body['bytes_there'])} to services, {size(body['bytes_back'])} back"),
        ("waiting", f"{size(body['bytes_waiting'])}; {body['stalls']} stalls since the start"),
        ("keys changed", f"{body['rekeys']} times"),
        ("event loop", f"{1000 * body['loop_delay']:.1f} ms late"),
        ("logins", f"{body['logins']}, and {body['logins_failed']} connections without"),
    ]
    rows += [
        (f"refused {one['what']}", f"{one['count']} ({one['why']})") for one in body["refusals"]
    ]
    rows += [
        (f"limit {limit}", f"hit {count} times") for limit, count in body["limits_hit"].items()
    ]
    first = f"{body['program']} {body['release']}, pid {body['pid']}, up for {age(body['uptime'])}"
    return [first, *table(("", ""), rows)[1:]]


def _leg(row: Row) -> Sequence[str]:
    return (
        str(row["leg"]), row["comment"] or "no comment", row["fingerprint"], row["peer"],
        age(row["seconds"]), str(row["services"]), str(row["streams"]),
        size(row["bytes_received"]), size(row["bytes_sent"]), row["client"],
    )  # fmt: skip


def _service(row: Row) -> Sequence[str]:
    state = ": ".join(filter(None, (row["state"], row["reason"])))
    return (
        row["service"], state, str(row["leg"]), row["comment"] or "no comment", row["peer"],
        age(row["seconds"]), str(row["streams"]), size(row["bytes_there"]),
        size(row["bytes_back"]), size(row["bytes_waiting"]), str(row["stalls"]),
    )  # fmt: skip


def _stream(row: Row) -> Sequence[str]:
    opener = "an open port" if row["opener"] is None else row["comment"] or "no comment"
    return (
        row["stream"], row["service"], opener, row["peer"], str(row["agent"]),
        age(row["seconds"]), size(row["bytes_there"]), size(row["bytes_back"]),
        size(row["bytes_waiting"]),
    )  # fmt: skip


_TABLES: Final[Mapping[str, tuple[Sequence[str], Callable[[Row], Sequence[str]]]]] = {
    "legs": (
        ("LEG ", "KEY", "FINGERPRINT", "FROM", "AGE ", "SERVICES ", "STREAMS ", "IN ", "OUT ",
         "CLIENT"),
        _leg,
    ),
    "services": (
        ("SERVICE", "STATE", "LEG ", "KEY", "FROM", "AGE ", "STREAMS ", "THERE ", "BACK ",
         "WAITING ", "STALLS "),
        _service,
    ),
    "streams": (
        ("STREAM ", "SERVICE", "OPENER", "FROM", "AGENT ", "AGE ", "THERE ", "BACK ",
         "WAITING "),
        _stream,
    ),
}  # fmt: skip
