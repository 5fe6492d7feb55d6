"""The way in which most parts measure: all chains stand, and each round visits every one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from benchmarks.chains import Builder, Chain
from benchmarks.context import Context, Standing
from benchmarks.report import Result
from benchmarks.table import number

Samples = dict[str, float]
"""By measure."""

Found = TypeVar("Found")


def interleaved(
    context: Context,
    result: Result,
    chains: Mapping[str, Builder],
    measure: Callable[[Chain], Samples],
    warm_up: Callable[[Chain], object],
    *,
    rounds: int | None = None,
    delay: float = 0.0,
) -> Result:
    """Add to the result what `measure` finds on each chain, each round, and return it.

    `warm_up` comes before the first round: it grows the kernel's buffers and windows, and the
    interpreters' caches. `rounds` are those of the command line unless given. `delay` is the way
    of each leg, in seconds.
    """
    rounds = context.settings.rounds if rounds is None else rounds
    with context.chains(chains, delay) as standing:
        result.notes += [note for note in standing.notes if note not in result.notes]
        for name in standing.chains:
            _visit(standing, name, warm_up)
        for turn in range(rounds):
            for name in rotated(list(standing.chains), turn):
                samples = _visit(standing, name, measure)
                for each, sample in samples.items():
                    result.add(each, name, sample)
                context.say(f"round {turn + 1} of {rounds}, {name}: {brief(samples)}")
    result.sort(list(chains))
    return result


def rotated(names: Sequence[str], steps: int) -> list[str]:
    """The same order, begun elsewhere: no chain always follows the same one's heat."""
    start = steps % len(names) if names else 0
    return [*names[start:], *names[:start]]


def counted(many: int, what: str) -> str:
    """`1 round`, `3 rounds`."""
    return f"{many} {what}{'s' * (many != 1)}"


def _visit(standing: Standing, name: str, use: Callable[[Chain], Found]) -> Found:
    with standing.using(name) as chain:
        return use(chain)


def brief(samples: Samples) -> str:
    """Some samples in a line."""
    return ", ".join(f"{number(sample)} {measure}" for measure, sample in samples.items())
