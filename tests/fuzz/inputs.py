"""The targets by their names, and the inputs that are kept for each."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from tests.fuzz import targets

Target = Callable[[bytes], None]

CORPUS: Final = Path(__file__).parent / "corpus"


def target_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def load(name: str) -> Target:
    """The target's function. Imports what it tests only now, so that a fuzzer can look on."""
    one_input: Target = import_module(f"{targets.__name__}.{name}").one_input
    return one_input


def corpus_of(name: str) -> Path:
    return CORPUS / name
