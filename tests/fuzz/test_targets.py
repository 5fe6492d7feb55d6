"""Every fuzz target over its corpus, and over bytes of hypothesis' making."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import CORPUS, corpus_of, load, target_names

KEPT = [path for name in target_names() for path in sorted(corpus_of(name).iterdir())]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.relative_to(CORPUS)}")
def test_what_was_found(path: Path) -> None:
    load(path.parent.name)(path.read_bytes())


@pytest.mark.parametrize("name", target_names())
def test_any_bytes(name: str) -> None:
    one_input = load(name)

    @given(st.binary(max_size=400))
    def run(data: bytes) -> None:
        one_input(data)

    one_input(b"")
    run()


def test_no_corpus_is_without_a_target() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == target_names()
