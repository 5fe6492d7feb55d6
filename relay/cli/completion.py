"""`--completion bash|zsh|fish`: a script for the user's shell, made by shtab from the program's own
flags.

    source <(relay-connect --completion bash)

Where a flag takes a file, files are offered; where it takes one of a few words, those; where a
server is due, the names on the Host lines of the user's and the system's ssh_config.
"""

from __future__ import annotations

import argparse
from typing import Final

import shtab

_CONFIGS: Final = "~/.ssh/config ~/.ssh/config.d/* /etc/ssh/ssh_config /etc/ssh/ssh_config.d/*"

# cat, since some awks give up at the first file that is not there.
_LIST_HOSTS: Final = (
    r"""cat {} 2>/dev/null | """
    r"""awk 'tolower($1) == "host" {{ for (i = 2; i <= NF; i++) if ($i !~ /[*?!]/) print $i }}'"""
)

_HOSTS: Final = {
    "bash": "_relay_hosts",
    "zsh": "_relay_hosts",
    "fish": "(_relay_hosts)",
    "preamble": {
        "bash": f"""\
_relay_hosts() {{
    compgen -W "$({_LIST_HOSTS.format(_CONFIGS)})" -- "$1"
}}""",
        "zsh": f"""\
_relay_hosts() {{
    setopt localoptions nonomatch
    local -a hosts
    hosts=(${{(f)"$({_LIST_HOSTS.format(_CONFIGS)})"}})
    compadd -a hosts
}}""",
        # fish has an error for a pattern that matches nothing; in `set` it has none.
        "fish": f"""\
function _relay_hosts
    set -l files {_CONFIGS}
    {_LIST_HOSTS.format("$files")}
end""",
    },
}

_COMPLETED: Final = {"file": shtab.FILE, "folder": shtab.DIRECTORY, "host": _HOSTS}
"""By the words of `relay.settings.option`."""


_EVALUATED: Final = "$zsh_eval_context[-1] == eval"
_SOURCED_TOO: Final = "$zsh_eval_context[-1] == (eval|file|filecode)"
"""shtab's script for zsh registers itself under `eval "$(…)"` alone; `source` must do as well."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell."""
    for action in parser._actions:
        if completed := getattr(action, "completed", None):
            action.complete = _COMPLETED[completed]  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell)).replace(_EVALUATED, _SOURCED_TOO)
