"""The command line of `relay-agent`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from relay.cli.control_flags import AS_JSON, COMMAND, add_control_flags
from relay.cli.parser import CommandLine
from relay.cli.ssh_flags import add_ssh_flags
from relay.cli.state_dir import default_state_dir
from relay.settings.agent import AgentSettings
from relay.settings.client import FORWARD

PROGRAM: Final = "relay-agent"

DESCRIPTION: Final = """\
Publish services that this machine can reach at a relay-server (or sshd), over one
outgoing SSH connection."""

EXAMPLE: Final = """\
  relay-agent -p 2222 -i agent_key -R gpu1:8000:localhost:8000 relay@b.example
      whoever may open gpu1:8000 at b.example reaches port 8000 of this machine"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `relay-agent`; `argv` is without the program's name. Returns the exit code."""
    parser = _parser()
    flags = parser.read(argv)
    settings = flags.settings(AgentSettings)
    # What follows is imported late, so that --help and a slip of the pen are answered at once.
    if name := flags.value(COMMAND):
        from relay.cli.agent_config import agent_command
        from relay.cli.control import run as run_command
        from relay.cli.start import tell

        as_json = bool(flags.value(AS_JSON))
        return tell(parser, lambda: partial(run_command, agent_command(settings, name, as_json)))
    from relay.cli.agent_config import agent_config
    from relay.cli.start import start

    config, log = start(parser, flags, lambda: settings, agent_config)
    from relay.cli.run import run_program
    from relay.life.supervise import Prompt

    prompt = Prompt()

    async def program() -> None:
        from relay.agent.program import run
        from relay.cli.operate import operators
        from relay.cli.web import of_client, with_web

        control, http = operators(PROGRAM, config.control, log), settings.http
        async with with_web(of_client, control, http, settings.http_token_file, log) as beside:
            await run(config, log, prompt, *beside)

    return run_program(PROGRAM, program, log, on_hangup=prompt)


def _parser() -> CommandLine:
    parser = CommandLine(PROGRAM, f"[options] -R {FORWARD} [user@]host", DESCRIPTION, EXAMPLE)
    parser.add_settings(AgentSettings, state_dir=default_state_dir(PROGRAM))
    add_ssh_flags(parser, NOT_SERVED)
    add_control_flags(parser, "-R")
    parser.add_commands()
    return parser


NOT_SERVED: Final = dict.fromkeys(
    ("-L", "-D", "-W", "-g"), "it publishes services; relay-connect opens them"
)


if __name__ == "__main__":
    raise SystemExit(main())
