"""The flags that talk to a running program instead of starting one."""

from __future__ import annotations

from typing import Final

from relay.cli.parser import CommandLine
from relay.settings.client import WHILE_IT_RUNS
from relay.settings.kinds import one_of
from relay.settings.option import Option

COMMANDS: Final = ("check", "forward", "cancel", "status", "stop", "exit")

COMMAND: Final = "control_command"
AS_JSON: Final = "as_json"


def add_control_flags(parser: CommandLine, flags: str) -> None:
    """`flags` are those with which forwards are given."""
    parser.add_option(
        COMMAND,
        Option(
            ("-O",),
            kind=one_of(*COMMANDS),
            group=WHILE_IT_RUNS,
            help=f"tell the program that runs for this destination: forward what {flags} says as "
            "well, or cancel that; say how it is (check, status); end when its streams have ended "
            "(stop), or at once (exit)",
        ),
    )
    parser.add_option(
        AS_JSON,
        Option(("--json",), group=WHILE_IT_RUNS, help="-O status for machines"),
    )
