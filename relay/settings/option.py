"""An option, written once: a field of a program's settings, and what everybody knows of it.

    class ServerSettings:
        drain: float = option("--drain", kind=SECONDS, default=10, group="operation", help="…")

From that one place come the flag, the key of the file (`drain = 30`), what `--help` and the
completion say, what SIGHUP can change, and what a printed unit does with a file that is named.

Settings are frozen dataclasses; a part of them that has a dataclass of its own (`limits`) is a
field made by `part`. Nobody here reads a file, the environment or a command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Final, Generic, Literal, TypeVar, cast

T = TypeVar("T")

Completed = Literal["file", "folder", "host"]
"""What a shell can offer for a value."""

InUnit = Literal["as typed", "hand over", "read", "trust", "state"]
"""How a service of systemd comes by the file that a value names (`relay/cli/units.py`)."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a value is."""

    metavar: str
    """What the help calls it."""
    parse: Callable[[str], T]
    """Reads it. Raises ValueError, or `LocalError` whose text says what would be right."""
    show: Callable[[T], str] = str
    """The text that reads as this value."""
    name: str = ""
    """What argparse calls it in a complaint; empty: as the help does, in small letters."""
    choices: tuple[str, ...] = ()
    """All values, if they are few."""
    completed: Completed | None = None
    in_unit: InUnit = "as typed"


@dataclass(frozen=True, slots=True)
class Option:
    """What a field of the settings is on a command line, in a file and in a unit."""

    flags: tuple[str, ...]
    """The long one last. Empty: what stands on the command line without a flag."""
    kind: Kind[Any] | None = None
    """None: it takes no value, and means `const`."""
    const: object = True
    counted: bool = False
    """It takes no value, and means how often it stands there."""
    many: bool = False
    """It may be given several times; the field is a tuple of all values."""
    help: str | None = ""
    """Of one line's length or more; `{default}` stands for the default. None: not shown."""
    group: str = ""
    """The heading under which the help has it."""
    keyword: str = ""
    """The keyword of ssh_config(5) that it stands for. The values stay texts until they are read
    as that keyword's."""
    fixed: bool = False
    """A new start only can change it: a socket or a file that is open."""

    @property
    def key(self) -> str:
        """Its name in a file; empty: it has none."""
        flag = self.flags[-1] if self.flags else ""
        return flag[2:] if flag.startswith("--") else ""


def option(*flags: str, default: Any = MISSING, **about: Any) -> Any:
    """A field with one flag, or with one flag in several spellings; `about` as of `Option`."""
    return field(default=default, metadata={OPTIONS: (Option(flags, **about),)})


def switches(*options: Option, default: Any = None) -> Any:
    """A field that several flags set, each to a value of its own."""
    return field(default=default, metadata={OPTIONS: options})


def part(settings: type[Any]) -> Any:
    """A field with settings of a dataclass of their own, each with a default."""
    return field(default_factory=settings, metadata={PART: settings})


OPTIONS: Final = "options"
PART: Final = "part"


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of some settings, be it one of a part."""

    name: str
    """The field's; no two of one program have the same."""
    options: tuple[Option, ...]
    path: tuple[str, ...]
    default: Any
    """MISSING: whoever makes the settings must give a value."""

    @property
    def key(self) -> str:
        """Its name in a file; empty: it has none."""
        return self.options[0].key

    def of(self, settings: Any) -> Any:
        """Its value."""
        for name in self.path:
            settings = getattr(settings, name)
        return settings


def settings_of(kind: type[Any]) -> Iterator[Setting]:
    """All settings of a program, in the order in which they are written, parts among them."""
    for one in fields(kind):
        yield from _settings(one, ())


def _settings(one: Field[Any], above: tuple[str, ...]) -> Iterator[Setting]:
    path = (*above, one.name)
    if PART in one.metadata:
        for inner in fields(one.metadata[PART]):
            yield from _settings(inner, path)
    else:
        yield Setting(one.name, one.metadata[OPTIONS], path, one.default)


def assemble(kind: type[T], values: Mapping[str, Any]) -> T:
    """The settings with these values by the names of their fields; the others have their defaults.
    An empty tuple means the default too: to give nothing is to leave it out."""
    given: dict[str, Any] = {}
    for one in fields(cast(Any, kind)):
        if PART in one.metadata:
            given[one.name] = assemble(one.metadata[PART], values)
        elif one.name in values and values[one.name] != ():
            given[one.name] = values[one.name]
    return kind(**given)


def shown(option: Option, value: Any) -> str:
    """A value as a person would write it."""
    values = value if isinstance(value, tuple) and option.many else (value,)
    show = option.kind.show if option.kind is not None else str
    return ", ".join("default" if one is None else show(one) for one in values) or "default"


def changes(old: Any, new: Any) -> list[tuple[str, str, str, bool]]:
    """What differs between two settings of one program: the key, the old and the new value, and
    whether it can change at run time."""
    found = []
    for one in settings_of(type(old)):
        before, after = one.of(old), one.of(new)
        if before != after:
            about = one.options[0]
            found.append((one.key, shown(about, before), shown(about, after), not about.fixed))
    return found


def kept(old: T, new: T) -> T:
    """The new settings, but that which only a new start can change as it was."""
    kind = type(new)
    values = {one.name: one.of(old if one.options[0].fixed else new) for one in settings_of(kind)}
    return assemble(kind, values)
