"""The command line of `relay-connect`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from relay.cli.control_flags import AS_JSON, COMMAND, add_control_flags
from relay.cli.parser import CommandLine
from relay.cli.ssh_flags import add_ssh_flags
from relay.settings.client import FORWARD
from relay.settings.connect import ConnectSettings

PROGRAM: Final = "relay-connect"

DESCRIPTION: Final = """\
Open services that are published at a relay-server as ports of this machine, over one
SSH connection."""

EXAMPLE: Final = """\
  relay-connect -p 2222 -i client_key -L 3000:gpu1:8000 relay@b.example
      then http://localhost:3000 is the service that an agent publishes as gpu1:8000"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relay-connect`; `argv` is without the program's name. Returns the exit code."""
    parser = _parser()
    flags = parser.read(argv)
    settings = flags.settings(ConnectSettings)
    # What follows is imported late, so that --help and a slip of the pen are answered at once.
    if name := flags.value(COMMAND):
        from relay.cli.connect_config import connect_command
        from relay.cli.control import run as run_command
        from relay.cli.start import tell

        as_json = bool(flags.value(AS_JSON))
        return tell(parser, lambda: partial(run_command, connect_command(settings, name, as_json)))
    from relay.cli.connect_config import connect_config
    from relay.cli.start import start

    config, log = start(parser, flags, lambda: settings, connect_config)
    from relay.cli.run import run_program
    from relay.life.supervise import Prompt

    prompt = Prompt()

    async def program() -> None:
        from relay.cli.operate import operators
        from relay.cli.web import of_client, with_web
        from relay.opener.program import run

        control, http = operators(PROGRAM, config.control, log), settings.http
        async with with_web(of_client, control, http, settings.http_token_file, log) as beside:
            await run(config, log, prompt, *beside)

    return run_program(PROGRAM, program, log, on_hangup=prompt)


def _parser() -> CommandLine:
    parser = CommandLine(PROGRAM, f"[options] -L {FORWARD} [user@]host", DESCRIPTION, EXAMPLE)
    parser.add_settings(ConnectSettings)
    add_ssh_flags(parser, NOT_SERVED)
    add_control_flags(parser, "-L or -D")
    parser.add_commands()
    return parser


NOT_SERVED: Final = {"-R": "it opens services; relay-agent publishes them"}


if __name__ == "__main__":
    raise SystemExit(main())
