"""The list of channels.py is true: its names are there, on both sides, and none is forgotten."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.channels import FILES, GROUPS, Group
from tests.conformance.upstream import PACKAGE

TESTS: Final = Path(__file__).parents[1]


def names_in(file: Path) -> set[str]:
    """The classes and functions of a file of tests."""
    tree = ast.parse(file.read_bytes())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


@pytest.mark.parametrize("test", sorted({test for group in GROUPS for test in group.ours}))
def test_what_is_covered_here_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in names_in(TESTS / file)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> list[str]:
    """`file::test` for each test of asyncssh's."""
    files = sorted(Path(folder, PACKAGE).glob("test_*.py"))
    return [
        f"{file.name}::{name}"
        for file in files for name in sorted(names_in(file)) if name.startswith("test_")
    ]  # fmt: skip


def test_each_of_theirs_is_in_one_group(theirs: list[str]) -> None:
    for test in theirs:
        groups = [group.about for group in GROUPS if group.has(test)]
        assert len(groups) == 1 or (not groups and not test.startswith(FILES)), f"{test}: {groups}"


def test_no_group_names_what_is_not_there(theirs: list[str]) -> None:
    for pattern in (pattern for group in GROUPS for pattern in group.theirs):
        assert any(map(Group("", (pattern,), ()).has, theirs)), pattern
