"""A TOML file with a program's flags: the key is the flag's name, the value what would follow it.

    listen = ["0.0.0.0:2222", "[::]:2222"]
    gateway-ports = "clientspecified"
    drain = 30

Flags win over the file. A mistake is told with the file, the line and the key.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from relay.errors import ConfigError, LocalError

Value = TypeVar("Value")

NO_SETTINGS: Final = frozenset({"completion", "config", "help", "version", "print-unit"})
"""Flags that mean nothing in a file."""


class Several(argparse.Action):
    """A flag that may be given several times. The first on the command line takes the place of
    what a file said."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest, None)
        given = before if isinstance(before, _Given) else _Given()
        setattr(namespace, self.dest, _Given([*given, values]))


class _Given(list[Any]):
    """Values from the command line."""


def checked(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """A parser of ours as argparse wants it: its complaint names the flag."""

    def parse_argument(text: str) -> Value:
        try:
            return parse(text)
        except LocalError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_argument


def read_settings(parser: argparse.ArgumentParser, path: Path) -> argparse.Namespace:
    """What the file says, as the start of a command line's namespace. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8, as TOML is") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_error(path, text, str(error))) from None
    settings = argparse.Namespace()
    for key, value in table.items():
        where = f"{path}:{_line_of(text, key)}: {key}"
        action = _action(parser, key, where)
        setattr(settings, action.dest, _value(action, value, where))
    return settings


def _action(parser: argparse.ArgumentParser, key: str, where: str) -> argparse.Action:
    actions = {
        flag.removeprefix("--"): action
        for flag, action in parser._option_string_actions.items()
        if flag.startswith("--") and flag.removeprefix("--") not in NO_SETTINGS
    }
    if key in actions:
        return actions[key]
    near = get_close_matches(key, actions, n=1)
    perhaps = f"{near[0]} perhaps?" if near else "the keys are the flags without their dashes"
    raise ConfigError(f"{where}: there is no such key; {perhaps}")


def _value(action: argparse.Action, value: object, where: str) -> object:
    if action.nargs == 0:  # Only -v, which is counted, stands without a value.
        if type(value) is not int or value < 0:
            raise ConfigError(f"{where}: give how often -v would be given")
        return value
    if isinstance(action, Several):
        items: Sequence[object] = value if isinstance(value, list) else [value]
        return [_converted(action, item, where) for item in items]
    return _converted(action, value, where)


def _converted(action: argparse.Action, value: object, where: str) -> object:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        many = ", or a list of them" if isinstance(action, Several) else ""
        raise ConfigError(f"{where}: give a text or a number{many}")
    text = str(value)
    try:
        converted = action.type(text) if callable(action.type) else text
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValueError:
        raise ConfigError(f"{where}: {text!r}: give {action.metavar}") from None
    if action.choices is not None and converted not in action.choices:
        raise ConfigError(f"{where}: {text!r}: give {', '.join(map(str, action.choices))}")
    return converted


def _syntax_error(path: Path, text: str, problem: str) -> str:
    """tomllib names the line in its text only."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", problem)
    line = found[1] if found and found[1] else str(text.count("\n") + 1)
    return f"{path}:{line}: {problem[: found.start()] if found else problem}"


def _line_of(text: str, key: str) -> int:
    """Where a key or the table of this name stands; tomllib does not say."""
    name = rf"""["']?{re.escape(key)}["']?"""
    pattern = re.compile(rf"\s*(?:\[+\s*{name}\s*[\].]|{name}\s*[=.])")
    lines = text.splitlines()
    return next((at for at, line in enumerate(lines, 1) if pattern.match(line)), 1)
