"""The command line of `relay-server`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from relay.cli.control_flags import AS_JSON, COMMAND
from relay.cli.parser import CommandLine, Flags
from relay.cli.state_dir import default_state_dir
from relay.settings.client import WHILE_IT_RUNS
from relay.settings.kinds import FILE, one_of
from relay.settings.option import Option
from relay.settings.server import ServerSettings

if TYPE_CHECKING:
    from relay.cli.start import Resolved
    from relay.server.running import Operate

PROGRAM: Final = "relay-server"

DESCRIPTION: Final = """\
An SSH server that joins whoever publishes a service (relay-agent, or ssh -R) with whoever
opens it (relay-connect, or ssh -L). It gives no shell and dials nowhere."""

EXAMPLE: Final = """\
  relay-server --listen 0.0.0.0:2222
      prints the fingerprint of its host key, and lets in the keys that are listed in
      authorized_keys in its state folder"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relay-server`; `argv` is without the program's name. Returns the exit code."""
    parser = _parser()
    flags = parser.read(argv)
    if name := flags.value(COMMAND):
        return _tell(parser, flags, name)
    if "what" in flags.given:
        parser.error(f"unrecognized arguments: {flags.given['what']}")
    # What follows is imported late, so that --help and a slip of the pen are answered at once.
    from relay.cli.start import start

    config, log = start(parser, flags, lambda: read_settings(flags), resolve)

    async def program() -> None:
        from relay.cli.web import of_server, with_web
        from relay.control.of_server import operate
        from relay.server.program import run

        control: list[Operate] = [partial(operate, config.state_dir, log)]
        http, token_file = config.http, config.http_token_file
        async with with_web(of_server, control, http, token_file, log) as beside:
            await run(config, log, lambda: read_settings(flags), *beside)

    from relay.cli.run import run_program

    return run_program(PROGRAM, program, log)


def _parser() -> CommandLine:
    parser = CommandLine(PROGRAM, "[options]", DESCRIPTION, EXAMPLE)
    parser.add_settings(ServerSettings, state_dir=default_state_dir(PROGRAM))
    parser.add_option("config", CONFIG)
    for name, option in CONTROL.items():
        parser.add_option(name, option)
    parser.group(WHILE_IT_RUNS).add_argument(
        "what", metavar="WHAT", nargs="?",
        help="for kick: a key's fingerprint, a leg's number, a service, a stream's number",
    )  # fmt: skip
    parser.add_commands()
    return parser


CONFIG: Final = Option(
    ("--config",), kind=FILE, group="operation",
    help="TOML file with these flags as keys (drain = 30); read again on SIGHUP; flags win",
)  # fmt: skip
"""No setting: what names the file cannot stand in it."""


CONTROL: Final = {
    COMMAND: Option(
        ("-O",), kind=one_of("status", "legs", "services", "streams", "kick", "reload", "drain"),
        group=WHILE_IT_RUNS,
        help="tell the server that runs with this --state-dir: show how it is, end WHAT, read the "
        "configuration again, or end when the streams have ended",
    ),
    AS_JSON: Option(("--json",), group=WHILE_IT_RUNS, help="show it for machines"),
    "watch": Option(("--watch",), group=WHILE_IT_RUNS, help="show it again every second"),
}  # fmt: skip


def _tell(parser: CommandLine, flags: Flags, name: str) -> int:
    """`-O`: the exit code."""
    from relay.cli import control_server
    from relay.cli.start import tell

    what = flags.given.get("what")
    about = {"as_json": bool(flags.value(AS_JSON)), "watch": bool(flags.value("watch"))}

    def command() -> Callable[[], int]:
        control_server.check(name, what, **about)
        folder = read_settings(flags).state_dir
        return partial(control_server.run, name, what, folder, **about)

    return tell(parser, command)


def read_settings(flags: Flags) -> ServerSettings:
    """What the flags say, and for what they do not say the file of `--config` as it is now. Raises
    ConfigError."""
    config = flags.value("config")
    return flags.settings(ServerSettings, _file_settings(config) if config is not None else {})


def _file_settings(path: Path) -> dict[str, Any]:
    from relay.core.text import IN_UTF_16, is_utf_16
    from relay.errors import ConfigError
    from relay.settings.toml import parse_settings

    try:
        data = path.read_bytes()
        if is_utf_16(data):
            raise ConfigError(f"{path}: {IN_UTF_16}")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8, as TOML is") from None
    return parse_settings(text, path, ServerSettings)


def resolve(settings: ServerSettings) -> Resolved[ServerSettings]:
    """They are the configuration already."""
    from relay.cli.start import Resolved

    return Resolved(settings, settings.log.verbose)


if __name__ == "__main__":
    raise SystemExit(main())
