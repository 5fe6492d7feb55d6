"""ssh's flags that neither program serves: those that change nothing, and those that would promise
what is not done."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from relay.cli.parser import CommandLine

HABITS: Final = ("-N", "-T", "-n", "-a", "-k", "-x", "-2")
"""Flags of ssh for what is never done here: no command, no terminal, no standard input, no agent,
no Kerberos, no X11 and no protocol but 2. People type them from habit."""

NOT_SERVED: Final = {
    "-1": "the protocol's first version is long gone",
    "-A": "an agent is not forwarded",
    "-B": "give the interface's address with -b",
    "-C": "nothing is compressed on the way",
    "-E": "redirect standard error instead",
    "-e": "there is no terminal, so nothing to escape",
    "-f": "start it in the background with & or as a service",
    "-G": "use ssh -G to see what the files say",
    "-I": "give PKCS#11 keys to ssh-agent",
    "-K": "keys are the only way to log in",
    "-M": "connections are not shared",
    "-Q": "--help and the README name what there is",
    "-s": "no command or subsystem is run",
    "-t": "there is no terminal at the other end",
    "-V": "use --version",
    "-w": "there are no tun devices here",
    "-X": "X11 is not forwarded",
    "-Y": "X11 is not forwarded",
    "-y": "redirect standard error instead",
}
"""Flags of ssh that would promise what neither program does."""

_WITH_VALUE: Final = "BDEeILQRWw"


def add_ssh_flags(parser: CommandLine, not_served: dict[str, str]) -> None:
    """`not_served` are ssh's flags that only this program lacks, and what to do instead."""
    for flag in HABITS:
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS, dest="habit")
    for flag, reason in (NOT_SERVED | not_served).items():
        takes = 1 if flag[1] in _WITH_VALUE else 0
        parser.add_argument(flag, action=_NotServed, nargs=takes, const=reason, dest="not_served")


class _NotServed(argparse.Action):
    """One clear line for a flag that ssh has and we have not."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, help=argparse.SUPPRESS, **settings)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        see = f"(see {parser.prog} --help)"
        parser.exit(2, f"{parser.prog} does not serve {option_string}: {self.const} {see}\n")
