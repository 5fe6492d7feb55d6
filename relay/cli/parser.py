"""From a program's settings to its command line: the flags, the help, and how it complains.

Nothing is imported here but what a command line needs, so that `--help` and a slip of the pen are
answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Final, NoReturn, TypeVar

import relay
from relay.errors import LocalError
from relay.settings.general import GENERAL
from relay.settings.option import Kind, Option, Setting, assemble, settings_of, shown

Settings = TypeVar("Settings")

UNKNOWN: Final = "unrecognized arguments: "
"""How argparse begins what it says of them."""

PRINT_UNIT: Final = "--print-unit"
COMPLETION: Final = "--completion"

SHELLS: Final = ("bash", "zsh", "fish")


class CommandLine(argparse.ArgumentParser):
    """A parser that complains in one line, and whose help ends with an example."""

    def __init__(self, program: str, usage: str, description: str, example: str) -> None:
        super().__init__(
            prog=program,
            usage=f"{program} {usage}",
            description=description,
            epilog=f"example:\n{example}",
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
            argument_default=argparse.SUPPRESS,
        )
        self._groups: dict[str, Any] = {}
        self._known: list[Setting] = []
        self._of_the_machine: dict[str, Any] = {}

    def group(self, title: str) -> Any:
        """Where the help has all flags with this heading; a new one comes after the others."""
        if title not in self._groups:
            self._groups[title] = self.add_argument_group(title)
        return self._groups[title]

    def add_settings(self, kind: type[Any], **defaults: Any) -> None:
        """All options of a program's settings. `defaults` are those that depend on the machine."""
        self._known = list(settings_of(kind))
        self._of_the_machine = defaults
        for setting in self._known:
            for option in setting.options:
                default = defaults.get(setting.name, setting.default)
                _add(self.group(option.group), setting.name, option, default)

    def add_option(self, name: str, option: Option) -> None:
        """One that is no setting; `Flags.value` has what was given."""
        _add(self.group(option.group), name, option, None)

    def add_commands(self) -> None:
        """What every program does instead of its work: print something, and end."""
        group = self.group(GENERAL)
        group.add_argument(
            PRINT_UNIT,
            action="store_true",
            help="print a systemd unit that runs the program with the other flags",
        )
        group.add_argument(
            COMPLETION,
            metavar="SHELL",
            choices=SHELLS,
            action=_PrintCompletion,
            help="print a script that completes this program's flags in bash, zsh or fish",
        )
        version = f"%(prog)s {relay.__version__}"
        group.add_argument("--version", action="version", version=version, help="print the version")
        group.add_argument("-h", "--help", action="help", help="print this text")

    def read(self, argv: Sequence[str] | None) -> Flags:
        """What was typed (`argv` None: by the process's user). Exits with one line if it is wrong,
        with 0 after `--help` and its like."""
        return Flags(vars(self.parse_args(argv)), self._known, self._of_the_machine)

    def error(self, message: str) -> NoReturn:
        """Exit with 2, as every wrong usage does."""
        message = message.replace("the following arguments are required", "missing")
        if message.startswith(UNKNOWN) and (word := message.split()[2]).startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(word, self._option_string_actions, n=1)
            message += "".join(f"; did you mean {flag}?" for flag in near)
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


class _PrintCompletion(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> NoReturn:
        from relay.cli.completion import script

        print(script(parser, values))
        parser.exit(0)


class Typed(str):
    """The value of a flag as it was typed, and what it means."""

    meaning: Any


def _reader(kind: Kind[Any]) -> Callable[[str], Typed]:
    """The parser of a value, as argparse wants it: its complaint names the flag."""

    def read(text: str) -> Typed:
        typed = Typed(text)
        try:
            typed.meaning = kind.parse(text)
        except LocalError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return typed

    # argparse says "invalid … value" with the name of the function.
    read.__name__ = kind.name or kind.metavar.lower()
    return read


def _add(group: Any, name: str, option: Option, default: Any) -> None:
    about: dict[str, Any] = {"help": argparse.SUPPRESS}
    if option.help is not None:
        value = "" if default is MISSING else shown(option, default)
        about["help"] = option.help.replace("{default}", value).replace("%", "%%")
    kind = option.kind
    if kind is None:
        if option.counted:
            about |= {"action": "count"}
        else:
            about |= {"action": "store_const", "const": option.const}
    else:
        about["type"] = _reader(kind)
        about |= {"choices": kind.choices} if kind.choices else {"metavar": kind.metavar}
        if option.many:
            about["action"] = "append"
    # What stands without a flag is called by its name.
    words = option.flags or (name,)
    action = group.add_argument(*words, **about, **({"dest": name} if option.flags else {}))
    action.completed = kind.completed if kind is not None else None


@dataclass(frozen=True, slots=True)
class Flags:
    """A command line that was understood."""

    given: Mapping[str, Any]
    """By the name of a setting: a `Typed` value, a list of them, how often, or a constant."""
    known: Sequence[Setting]
    defaults: Mapping[str, Any]

    def settings(self, kind: type[Settings], below: Mapping[str, Any] | None = None) -> Settings:
        """What they mean, with `below` for what no flag says (a file's values by name)."""
        values = {
            one.name: _meaning(self.given[one.name]) for one in self.known if one.name in self.given
        }
        return assemble(kind, {**self.defaults, **(below or {}), **values})

    def value(self, name: str) -> Any:
        """What one means, be it a setting or not; None if it was not given."""
        return _meaning(self.given.get(name))

    @property
    def print_unit(self) -> bool:
        """Shall a unit be printed?"""
        return "print_unit" in self.given

    def typed(self, setting: Setting) -> list[tuple[str, str | None]]:
        """The flags that gave a setting, each with its value as it was typed."""
        found: list[tuple[str, str | None]] = []
        if setting.name not in self.given:
            return found
        given = self.given[setting.name]
        for option in setting.options:
            name = option.flags[-1] if option.flags else ""
            if option.counted:
                found += [(name, None)] * given
            elif option.kind is not None:
                found += [(name, str(one)) for one in (given if option.many else [given])]
            elif given == option.const:
                found.append((name, None))
        return found


def _meaning(given: Any) -> Any:
    if isinstance(given, list):
        return tuple(one.meaning for one in given)
    return given.meaning if isinstance(given, Typed) else given
