"""`-O COMMAND`: look at a running relay-agent or relay-connect, and change it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from relay.cli.client_config import forwards
from relay.cli.control_path import control_paths
from relay.control.client import Answered, ask, find
from relay.core.forward import Forward
from relay.errors import RelayError, UsageError
from relay.observe.lines import duration
from relay.observe.log import printable
from relay.sshconfig.config import Config
from relay.sshconfig.keywords import Keyword

OK: Final = 0
FAILED: Final = 1


@dataclass(frozen=True, slots=True)
class Command:
    """One command line with `-O`."""

    program: str
    name: str
    as_json: bool
    paths: list[Path]
    forwards: list[tuple[str, Forward]]
    """Their kinds, and what was given with -R, -L or -D."""


def command(
    program: str,
    name: str,
    as_json: bool,
    config: Config,
    kinds: Mapping[str, Keyword[str]],
    prepared: Callable[[Forward], Forward],
) -> Command:
    """What `-O` means with these settings.

    Args:
        kinds: the control API's kinds of forwards, and the keyword that each stands in.
        prepared: makes of a forward that is wanted what the program would at its start.

    Raises UsageError.
    """
    given = [
        (kind, _absolute(one)) for kind, keyword in kinds.items()
        for one in given_forwards(config, keyword)
    ]  # fmt: skip
    if name in ("forward", "cancel") and not given:
        raise UsageError(f"-O {name}: give the forwards as well")
    if name not in ("forward", "cancel") and given:
        raise UsageError(f"-O {name} takes no forward")
    if as_json and name != "status":
        raise UsageError("--json is for -O status")
    if name == "forward":
        given = [(kind, prepared(one)) for kind, one in given]
    paths = [one.path for one in control_paths(config, program)]
    if not paths:
        raise UsageError(f"-O {name}: ControlPath is none")
    return Command(program, name, as_json, paths, given)


def given_forwards(config: Config, keyword: Keyword[str]) -> list[Forward]:
    """Those of the command line: what stands in a file is the program's already."""
    places = [place for _, place in config.all(keyword)]
    return [
        one for one, place in zip(forwards(config, keyword), places, strict=False) if not place.line
    ]  # fmt: skip


def _absolute(forward: Forward) -> Forward:
    """The program has a current folder of its own."""
    listening, target = (
        path and os.path.abspath(path) for path in (forward.listen_path, forward.target_path)
    )
    return replace(forward, listen_path=listening, target_path=target)


def run(command: Command) -> int:
    """Do it, say what is to be said, and return the exit code."""
    try:
        path = find(command.paths)
        return _DO[command.name](command, path)
    except RelayError as error:
        print(f"{command.program}: {printable(str(error))}", file=sys.stderr)
        return error.exit_code


def _check(command: Command, path: Path) -> int:
    answer = ask(path, "GET", "/v1/status")
    print(f"{command.program} is running (pid {answer.body['pid']})")
    return OK


def _forward(command: Command, path: Path) -> int:
    code = OK
    for kind, forward in command.forwards:
        answer = ask(path, "POST", "/v1/forwards", body=_named(kind, forward))
        if not _failed(command, answer) and not (forward.port or forward.listen_path):
            # As ssh: a script must learn which port was picked.
            print(answer.body["port"])
        code |= _code(answer)
    return code


def _cancel(command: Command, path: Path) -> int:
    code = OK
    for kind, forward in command.forwards:
        answer = ask(path, "DELETE", "/v1/forwards", query=_named(kind, forward))
        _failed(command, answer)
        code |= _code(answer)
    return code


def _stop(command: Command, path: Path) -> int:
    answer = ask(path, "POST", "/v1/stop")
    if not _failed(command, answer):
        print(f"{command.program} ends when its streams do (there are {answer.body['streams']})")
    return _code(answer)


def _exit(command: Command, path: Path) -> int:
    answer = ask(path, "POST", "/v1/exit")
    if not _failed(command, answer):
        print(f"{command.program} ends (pid {answer.body['pid']})")
    return _code(answer)


def _status(command: Command, path: Path) -> int:
    answer = ask(path, "GET", "/v1/status")
    if _failed(command, answer):
        return FAILED
    if command.as_json:
        print(json.dumps(answer.body, indent=2))
    else:
        print("\n".join(map(printable, status_lines(answer.body))))
    return OK


_DO: Final[Mapping[str, Callable[[Command, Path], int]]] = {
    "check": _check,
    "forward": _forward,
    "cancel": _cancel,
    "stop": _stop,
    "exit": _exit,
    "status": _status,
}


def _named(kind: str, forward: Forward) -> dict[str, str]:
    dynamic = {"remote": "remote-dynamic"}.get(kind, kind)
    return {"kind": dynamic if forward.dynamic else kind, "forward": str(forward)}


def _failed(command: Command, answer: Answered) -> bool:
    if answer.error:
        print(f"{command.program}: {printable(answer.error)}", file=sys.stderr)
    return bool(answer.error)


def _code(answer: Answered) -> int:
    return FAILED if answer.error else OK


def status_lines(status: Mapping[str, Any]) -> list[str]:
    """The status for a person."""
    connection = status["connection"]
    seconds = duration(connection["seconds"])
    if connection["up"]:
        how = ", ".join(filter(None, (connection.get("server"), connection.get("cipher"))))
        state = f"connected to {status['destination']} for {seconds}{how and f' ({how})'}"
    else:
        why = connection["reason"]
        state = f"not connected to {status['destination']} for {seconds}{why and f': {why}'}"
    if held := connection.get("resumable"):
        state += f", resumable: {held}"
    lines = [
        f"{status['program']} {status['release']}, pid {status['pid']}, up for "
        f"{duration(status['uptime'])}",
        state,
        f"streams: {status['streams']}",
    ]
    rows = [_row(one) for one in status["forwards"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(forward: Mapping[str, Any]) -> tuple[str, str, str]:
    listening, port = forward["listening"], forward["port"]
    if port and listening.rpartition(":")[2] == "0":
        listening = f"{listening.removesuffix('0')}{port}"
    state = forward["state"]
    if forward["reason"]:
        state += f": {forward['reason'].removeprefix(listening + ': ')}"
    if forward["again_in"] is not None:
        state += f"; again in {duration(forward['again_in'])}"
    if forward["stream_refused"]:
        # For so long nobody has been served: what was said last may tell a time of its own.
        state += f"; refused for {duration(forward['stream_refused_for'])}: "
        state += forward["stream_refused"]
    return listening, f"-> {forward['target']}", state
