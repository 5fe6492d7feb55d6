"""`python -m tests.fuzz NAME [libFuzzer flags]`: one target under atheris, until a bug is found.

It begins with `tests/fuzz/corpus/NAME` and keeps what reaches something new in `build/fuzz/NAME`.
An input that shows a bug is written into the corpus itself, so the suite fails until it is fixed.
`-max_total_time=60` ends after a minute; `-help=1` names the other flags. To add to the corpus the
few inputs of a long run that say all it found:

    python -m tests.fuzz NAME -merge=1 -use_counters=0 tests/fuzz/corpus/NAME build/fuzz/NAME
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from tests.fuzz.inputs import corpus_of, load, target_names

FOUND: Final = Path(__file__).parents[2] / "build" / "fuzz"


def main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] not in target_names():
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(target_names())}}} [libFuzzer flags]")
    try:
        atheris = import_module("atheris")
    except ImportError:
        sys.exit("atheris is not here: pip install -e '.[test,fuzz]'")

    name, *flags = arguments
    with atheris.instrument_imports(include=["relay"]):
        one_input = load(name)
    corpus, found = corpus_of(name), FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    folders = [] if any(not flag.startswith("-") for flag in flags) else [f"{found}", f"{corpus}"]
    # As libFuzzer starts itself again, by a shell, for `-merge` and `-fork`.
    program = f"{sys.executable} -m {__package__} {name}"
    atheris.Setup([program, f"-artifact_prefix={corpus}/", *flags, *folders], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
