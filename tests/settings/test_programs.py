"""Every option of the three programs: named once, told everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Final

import pytest

import relay
from relay.cli.parser import SHELLS
from relay.settings.option import settings_of, shown
from relay.settings.server import Limits
from relay.settings.toml import parse_settings
from tests.settings.programs import PROGRAMS, options_of

README: Final = Path(relay.__file__).parent.with_name("README.md").read_text()

every_program = pytest.mark.parametrize("program", PROGRAMS)


def said(program: str, *argv: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        PROGRAMS[program][1].main(list(argv))
    assert end.value.code == 0
    return capsys.readouterr().out


def named(word: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


@every_program
def test_no_two_have_one_name(program: str) -> None:
    names = [one.name for one in settings_of(PROGRAMS[program][0])]
    flags = [flag for option in options_of(program) for flag in option.flags]
    assert len(set(names)) == len(names)
    assert len(set(flags)) == len(flags)


@every_program
def test_a_default_can_be_given_as_it_is_shown(program: str) -> None:
    for one in settings_of(PROGRAMS[program][0]):
        option = one.options[0]
        if option.kind is None or one.default in (MISSING, None, ()):
            continue
        each = one.default if option.many else (one.default,)
        for value in each:
            assert option.kind.parse(option.kind.show(value)) == value, option.flags
        if option.kind.choices:
            assert one.default in option.kind.choices


@every_program
def test_help_names_all_with_their_defaults(
    program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(said(program, "--help", capsys=capsys).split())
    for one in settings_of(PROGRAMS[program][0]):
        for option in one.options:
            if option.help is None:
                continue
            assert all(named(flag, text) for flag in option.flags)
            if "{default}" in option.help and one.default is not MISSING:
                words = option.help.replace("{default}", shown(option, one.default))
                assert words.replace(" ", "") in text.replace(" ", "")


@every_program
@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_has_them_all(
    program: str, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    script = said(program, "--completion", shell, capsys=capsys)
    for option in options_of(program):
        if option.help is None:
            continue
        for flag in option.flags:
            assert named(flag.lstrip("-") if shell == "fish" else flag, script), flag


# -- README


def table(heading: str) -> Iterator[list[str]]:
    """The rows of the table below a heading, without its own heading."""
    rows = re.split(rf"^#+ {heading}$", README, flags=re.MULTILINE)[1].split("\n\n")[1]
    for row in rows.splitlines()[2:]:
        yield [cell.strip() for cell in row.strip("|").split(" | ")]


def test_the_limits_in_readme() -> None:
    told = {}
    for flags, defaults, _ in table("Limits"):
        names = re.findall(r"`(--[a-z-]+)`", flags)
        told |= dict(zip(names, defaults.split(", ")[: len(names)], strict=True))
    for one in settings_of(Limits):
        (flag,) = one.options[0].flags
        default = shown(one.options[0], one.default)
        assert re.match(rf"{re.escape(default)}(?![\w:])", told.pop(flag, "missing")), flag
    assert not told


def test_defaults_in_the_prose_of_readme() -> None:
    known = {
        option.flags[-1]: shown(option, one.default)
        for kind, _ in PROGRAMS.values()
        for one in settings_of(kind)
        for option in one.options
        if option.flags
    }
    told = re.findall(r"`(--[a-z-]+)(?: [A-Z]+)?`(?: seconds)? ?\((\d+)", README)
    told += re.findall(r"\(`(--[a-z-]+)`, (\w+)", README)
    assert {flag for flag, _ in told} >= {"--wait", "--drain", "--max-window", "--busy-poll"}
    for flag, default in told:
        assert known[flag] == default, flag


OTHERS: Final = {"--against", "--end-to-end", "--now", "--quick", "--rounds", "--unix-socket"}
"""Of the benchmarks, systemctl and curl."""


def test_readme_names_no_flag_that_is_not_there() -> None:
    ours = {
        flag
        for _, program in PROGRAMS.values()
        for flag in program._parser()._option_string_actions
        if flag.startswith("--")
    }
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert told - ours <= OTHERS


def test_the_file_in_readme() -> None:
    kind, _ = PROGRAMS["relay-server"]
    (text,) = re.findall(r"in the file of `--config`; flags win:\n\n((?:    .*\n)+)", README)
    assert parse_settings(re.sub("^    ", "", text, flags=re.MULTILINE), Path("x"), kind)
