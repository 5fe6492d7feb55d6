"""A long list, a page at a time.

`limit` rows, in the order of one of their fields (`sort`; with a `-` before it the other way
round), of those in which a text occurs (`search`). An answer has a `total`, that of all pages, and
`next`: given as `after` it brings those that follow. It names the place behind the last row and not
a number, so that a row that is there all the time is neither left out nor shown twice while others
come and go.

To find a page all rows are passed, in turn with everybody else; whole rows are made of those alone
that are on it.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, NoReturn, TypeVar

from relay.control.limits import AFTER_LENGTH, PAGE_ROWS, SEARCH_LENGTH
from relay.errors import UsageError
from relay.io.turns import in_turn

SEEN_PER_TURN: Final = 64
MADE_PER_TURN: Final = 32
"""Rows that are passed, and that are made, in one turn: half a millisecond."""

PARAMETERS: Final = ("limit", "after", "sort", "search")

Row = TypeVar("Row")
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """What the rows of a list are made of."""

    fields: Mapping[str, Callable[[Row], object]]
    """Each a text, a number or None."""
    texts: Collection[str]
    """The fields that are texts."""
    identity: Callable[[Row], Key]
    """What no two rows have in common, of the types `identified_by`; they are in its order if
    nothing else is said."""
    identified_by: tuple[type, ...]
    searched: Collection[str]
    """The fields in which a text is searched for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    limit: int
    sort: str
    descending: bool
    search: str
    after: Key | None


def wanted(query: Mapping[str, str], listing: Listing[Any]) -> Wanted:
    """Raises UsageError."""
    sort = query.get("sort", "")
    name = sort.removeprefix("-")
    if name not in listing.fields and "sort" in query:
        raise UsageError(f"sort is one of {', '.join(listing.fields)}, or one of them behind a -")
    search = query.get("search", "")
    if len(search) > SEARCH_LENGTH:
        raise UsageError(f"search has at most {SEARCH_LENGTH} characters")
    after = query.get("after")
    return Wanted(
        _limit(query.get("limit", str(PAGE_ROWS))), name, sort.startswith("-"), search.casefold(),
        None if after is None else _after(after, name, listing),
    )  # fmt: skip


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= PAGE_ROWS):
        raise UsageError(f"limit is a number from 1 to {PAGE_ROWS}")
    return int(text)


def _after(text: str, sort: str, listing: Listing[Any]) -> Key:
    """What `next` was; whoever makes it up gets no more than an odd page."""
    try:
        if len(text) > AFTER_LENGTH:
            raise ValueError
        place = json.loads(text, parse_constant=_no_number)
        if not isinstance(place, list):
            raise ValueError
        types: list[type | tuple[type, ...]] = list(listing.identified_by)
        if sort:
            types.insert(0, str if sort in listing.texts else (int, float))
            if place and place[0] is None:
                types[0] = type(None)
        for value, kind in zip(place, types, strict=True):
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError
    except (ValueError, RecursionError):
        raise UsageError(
            "after is what another answer to the same question had as `next`"
        ) from None
    return (_comparable(place[0]), *place[1:]) if sort else tuple(place)


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _comparable(value: object) -> Key:
    """None is before all else."""
    return (0,) if value is None else (1, value)


async def page(
    name: str, rows: Iterable[Row], listing: Listing[Row], wanted: Wanted
) -> Mapping[str, object]:
    """The page, as what its answer says. `rows` may change meanwhile."""
    keys, chosen, total = await _choose(rows, listing, wanted)
    more = len(chosen) > wanted.limit
    made: list[Mapping[str, object]] = []
    async for some in in_turn(islice(chosen, wanted.limit), MADE_PER_TURN):
        made += [{one: of(row) for one, of in listing.fields.items()} for row in some]
    following = _place(keys[wanted.limit - 1], wanted) if more else None
    return {name: made, "total": total, "next": following}


async def _choose(
    rows: Iterable[Row], listing: Listing[Row], wanted: Wanted
) -> tuple[list[Key], list[Row], int]:
    """Those of the page in their order, and one more if there is one, with what they are in the
    order of; and how many there are on all pages."""
    value = listing.fields.get(wanted.sort)
    identity, after, backwards = listing.identity, wanted.after, wanted.descending
    # In step, and always in ascending order: there is never much to sort in one turn.
    keys: list[Key] = []
    chosen: list[Row] = []
    total, worst = 0, 0 if backwards else -1
    async for some in in_turn(rows, SEEN_PER_TURN):
        for row in some:
            if wanted.search and not _found(row, listing, wanted.search):
                continue
            total += 1
            key = identity(row)
            if value is not None:
                key = (_comparable(value(row)), *key)
            if after is not None and (key >= after if backwards else key <= after):
                continue
            at = bisect_left(keys, key)
            keys.insert(at, key)
            chosen.insert(at, row)
            if len(keys) > wanted.limit + 1:
                del keys[worst], chosen[worst]
    if backwards:
        keys.reverse()
        chosen.reverse()
    return keys, chosen, total


def _found(row: Row, listing: Listing[Row], text: str) -> bool:
    return any(text in str(listing.fields[name](row)).casefold() for name in listing.searched)


def _place(key: Key, wanted: Wanted) -> str:
    """Behind the row with this key."""
    if not wanted.sort:
        return json.dumps(key)
    value, *rest = key
    return json.dumps([value[-1] if value[0] else None, *rest])
