"""`--completion bash|zsh|fish`: a script for the user's shell, made from the program's own flags.

    source <(relay-connect --completion bash)

Where a flag takes a file, files are offered; where it takes one of a few words, those; where a
server is due, the names on the Host lines of the user's and the system's ssh_config.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

SHELLS: Final = ("bash", "zsh", "fish")

FILES: Final = frozenset({"FILE", "DIR"})
"""What a flag's value is called in the help if it is a file."""

HOSTS: Final = frozenset({"HOSTS"})

_CONFIGS: Final = "~/.ssh/config ~/.ssh/config.d/* /etc/ssh/ssh_config /etc/ssh/ssh_config.d/*"

# cat, since some awks give up at the first file that is not there.
_LIST_HOSTS: Final = (
    r"""cat {} 2>/dev/null | """
    r"""awk 'tolower($1) == "host" {{ for (i = 2; i <= NF; i++) if ($i !~ /[*?!]/) print $i }}'"""
)


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag, as the help knows it."""

    names: tuple[str, ...]
    text: str
    value: str
    """What its value is called; empty: it takes none."""
    words: tuple[str, ...]
    """The values that there are, if they are few."""
    repeatable: bool


def flags(parser: argparse.ArgumentParser) -> Iterator[Flag]:
    """Those that `--help` names."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        if not action.option_strings or action.help == argparse.SUPPRESS:
            continue
        text = formatter._expand_help(action).partition(";")[0].partition(" (")[0]
        words = tuple(map(str, action.choices or ()))
        value = "" if action.nargs == 0 else str(action.metavar or action.dest)
        repeatable = type(action).__name__ != "_StoreAction"
        yield Flag(tuple(action.option_strings), text, value, words, repeatable)


class PrintCompletion(argparse.Action):
    """Print the script and exit."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> NoReturn:
        print(script(parser, values), end="")
        parser.exit(0)


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for `shell`, one of `SHELLS`."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    has_host = any(not action.option_strings for action in parser._actions)
    return write(parser.prog, list(flags(parser)), has_host)


def _function(program: str) -> str:
    return "_" + program.replace("-", "_")


# -- bash


def _bash(program: str, known: Sequence[Flag], has_host: bool) -> str:
    name = _function(program)
    names = " ".join(one for flag in known for one in flag.names)
    cases = []
    for chosen, action in (
        ([f for f in known if f.value in FILES], "compopt -o filenames; _files"),
        ([f for f in known if f.value in HOSTS], '_words "$(_hosts)"'),
        *(([f], f"_words {shlex.quote(' '.join(f.words))}") for f in known if f.words),
        ([f for f in known if f.value and not f.words and f.value not in FILES | HOSTS], ":"),
    ):
        pattern = "|".join(one for flag in chosen for one in flag.names)
        if pattern:
            cases.append(f"        {pattern}) {action} ;;")
    action = '_words "$(_hosts)"' if has_host else ":"
    body = "\n".join(cases)
    text = f"""\
# Completion of {program} for bash.
_hosts() {{
    {_LIST_HOSTS.format(_CONFIGS)}
}}
_words() {{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}}
_files() {{
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}}
_complete() {{
    local cur=$2
    COMPREPLY=()
    case $3 in
{body}
        *) case $cur in
            -*) _words {shlex.quote(names)} ;;
            *) {action} ;;
        esac ;;
    esac
}}
complete -F _complete {program}
"""
    # Functions are the shell's, all of them: each gets the program's name.
    for function in ("_hosts", "_words", "_files", "_complete"):
        text = text.replace(function, name + function)
    return text


# -- zsh


def _zsh(program: str, known: Sequence[Flag], has_host: bool) -> str:
    name = _function(program)
    lines = []
    for flag in known:
        for one in flag.names:
            star = "*" if flag.repeatable else ""
            spec = f"{star}{one}[{_escaped(flag.text)}]"
            if flag.value:
                spec += f":{_escaped(flag.value)}:{_zsh_values(flag, name)}"
            lines.append(f"        {shlex.quote(spec)}")
    if has_host:
        lines.append(f"        '1:host:{name}_hosts'")
    body = " \\\n".join(lines)
    return f"""\
#compdef {program}
# Completion of {program} for zsh.
{name}_hosts() {{
    setopt localoptions nonomatch
    local -a hosts
    hosts=(${{(f)"$({_LIST_HOSTS.format(_CONFIGS)})"}})
    compadd -a hosts
}}
{name}() {{
    _arguments -s \\
{body}
}}
if [ "$funcstack[1]" = "{name}" ]; then
    {name} "$@"
else
    compdef {name} {program}
fi
"""


def _zsh_values(flag: Flag, name: str) -> str:
    if flag.words:
        return f"({' '.join(flag.words)})"
    return "_files" if flag.value in FILES else f"{name}_hosts" if flag.value in HOSTS else " "


def _escaped(text: str) -> str:
    return "".join(f"\\{one}" if one in "[]:\\" else one for one in text)


# -- fish


def _fish(program: str, known: Sequence[Flag], has_host: bool) -> str:
    hosts = f"({_function(program)}_hosts)"
    lines = [
        f"# Completion of {program} for fish.",
        f"function {_function(program)}_hosts",
        # fish has an error for a pattern that matches nothing; in `set` it has none.
        f"    set -l files {_CONFIGS}",
        f"    {_LIST_HOSTS.format('$files')}",
        "end",
        f"complete -c {program} -f",
    ]
    for flag in known:
        words = ["complete", "-c", program]
        for one in flag.names:
            words += ["-l", one[2:]] if one.startswith("--") else ["-s", one[1:]]
        if flag.value in FILES:
            words += ["-r", "-F"]
        elif flag.value:
            offered = " ".join(flag.words) or (hosts if flag.value in HOSTS else "")
            words += ["-x", "-a", offered] if offered else ["-x"]
        words += ["-d", flag.text]
        lines.append(" ".join(map(_fish_quoted, words)))
    if has_host:
        lines.append(f"complete -c {program} -a '{hosts}'")
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    if text and all(one.isalnum() or one in "-_" for one in text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
