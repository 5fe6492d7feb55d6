"""Where the control socket of a program is: ControlPath, or one for each destination."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from relay.cli.state_dir import default_state_dir
from relay.control.place import default_folders
from relay.sshconfig import keywords
from relay.sshconfig.client import ControlPath
from relay.sshconfig.config import Config
from relay.sshconfig.tokens import expand_path

HASH_LENGTH: Final = 16
"""Characters of %C in the name of the default: a socket's path has at most 107 bytes."""


def control_path(config: Config, program: str) -> ControlPath | None:
    """Where the program listens; None: nowhere. Raises UsageError."""
    paths = control_paths(config, program)
    return paths[0] if paths else None


def control_paths(config: Config, program: str) -> list[ControlPath]:
    """The same, and where else one may have been that was started in another way (by cron, as a
    service), with another environment. Raises UsageError."""

    def given(text: str) -> list[ControlPath]:
        if text.lower() == "none":
            return []
        path = expand_path(text, config.tokens(), config.local)
        if config.all(keywords.CONTROL_PATH)[0][1].line:
            # A file is for ssh too, whose master speaks another language there.
            path = f"{path}.{program}"
        return [ControlPath(Path(path).absolute(), is_default=False)]

    name = f"{program}-{config.tokens()['C'][:HASH_LENGTH]}"
    folders = default_folders(config.local.environ, default_state_dir(program))
    default = [ControlPath(folder / name, is_default=True) for folder in folders]
    return config.explain(keywords.CONTROL_PATH, given, default)
