"""From settings to a program that can run: its configuration, and its log opened; or its unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from relay.cli.parser import CommandLine, Flags
from relay.errors import ConfigError, LocalError, UsageError
from relay.observe.log import EventLog, configure

Settings = TypeVar("Settings", bound=Any)
Config = TypeVar("Config", bound=Any)


@dataclass(frozen=True, slots=True)
class Resolved(Generic[Config]):
    """What settings mean on this machine, with the files that they name."""

    config: Config
    verbosity: int
    """As of `relay.observe.log.configure`."""
    passed_over: tuple[str, ...] = ()
    """Lines of files that change nothing here, for those who want to know."""


def start(
    parser: CommandLine,
    flags: Flags,
    settle: Callable[[], Settings],
    resolve: Callable[[Settings], Resolved[Config]],
) -> tuple[Config, EventLog]:
    """The program's configuration, and its log. Exits with one line if the settings or a file that
    they name are wrong, with 0 after `--print-unit`.

    Args:
        flags: as they were typed.
        settle: the settings that the flags, and the file that they name, come to.
        resolve: what settings mean.
    """
    try:
        settings = settle()
        resolved = resolve(settings)
        configure(parser.prog, settings.log.log_format, resolved.verbosity)
        log = EventLog(parser.prog)
        for text in resolved.passed_over:
            log.debug("passed over", "{setting}", setting=text)
        if flags.print_unit:
            from relay.cli.units import unit

            print(unit(parser.prog, flags, settings, resolve, log), end="")
            parser.exit(0)
    except LocalError as error:
        _complain(parser, error)
    return resolved.config, log


def tell(parser: CommandLine, command: Callable[[], Callable[[], int]]) -> int:
    """`-O`: the exit code of the command. Exits with one line if the settings are wrong."""
    try:
        asked = command()
    except LocalError as error:
        _complain(parser, error)
    return asked()


def _complain(parser: CommandLine, error: LocalError) -> NoReturn:
    if isinstance(error, UsageError) and not isinstance(error, ConfigError):
        parser.error(str(error))
    # The mistake is in a file, and no help text knows of it.
    parser.exit(error.exit_code, f"{parser.prog}: {error}\n")
