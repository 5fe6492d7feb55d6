"""A TOML file with a program's settings: a key is a flag's name, the value what follows it.

    listen = ["0.0.0.0:2222", "[::]:2222"]
    gateway-ports = "clientspecified"
    drain = 30

A mistake is told with the file, the line and the key.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from relay.errors import ConfigError, LocalError
from relay.settings.option import Option, settings_of


def parse_settings(text: str, path: Path, kind: type[Any]) -> dict[str, Any]:
    """What the text of the file at `path` says, by the names of the fields of `kind`. Raises
    ConfigError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_error(path, text, str(error))) from None
    known = {one.key: one for one in settings_of(kind) if one.key}
    values: dict[str, Any] = {}
    for key, value in table.items():
        where = f"{path}:{_line_of(text, key)}: {key}"
        if key not in known:
            near = get_close_matches(key, known, n=1)
            perhaps = (
                f"did you mean {near[0]}?"
                if near
                else "the keys are the flags without their dashes"
            )
            raise ConfigError(f"{where}: there is no such key; {perhaps}")
        values[known[key].name] = _value(known[key].options[0], value, where)
    return values


def _value(option: Option, value: object, where: str) -> object:
    if option.counted:
        if type(value) is not int or value < 0:
            raise ConfigError(f"{where}: give how often {option.flags[0]} would be given")
        return value
    if option.many:
        items = value if isinstance(value, list) else [value]
        return tuple(_converted(option, item, where) for item in items)
    return _converted(option, value, where)


def _converted(option: Option, value: object, where: str) -> object:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        many = ", or a list of them" if option.many else ""
        raise ConfigError(f"{where}: give a text or a number{many}")
    text, kind = str(value), option.kind
    assert kind is not None, "a flag that is there or not has no key: it would take a truth value"
    if kind.choices and text not in kind.choices:
        raise ConfigError(f"{where}: {text!r}: give {', '.join(kind.choices)}")
    try:
        return kind.parse(text)
    except LocalError as error:
        raise ConfigError(f"{where}: {error}") from None
    except ValueError:
        raise ConfigError(f"{where}: {text!r}: give {kind.metavar}") from None


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
