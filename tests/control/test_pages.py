"""A long list a page at a time, whatever is asked and whatever comes and goes meanwhile."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.control.limits import AFTER_LENGTH, PAGE_ROWS, SEARCH_LENGTH
from relay.control.pages import SEEN_PER_TURN, Listing, page, wanted
from relay.errors import UsageError


@dataclass
class Thing:
    name: str
    size: int | None
    number: int = 0


LISTING: Listing[Thing] = Listing(
    {"name": lambda one: one.name, "size": lambda one: one.size},
    texts=("name",),
    identity=lambda one: (one.name, one.number),
    identified_by=(str, int),
    searched=("name",),
)


def ask(things: list[Thing], **query: str) -> Any:
    async def main() -> Any:
        return await page("things", things, LISTING, wanted(query, LISTING))

    return anyio.run(main)


def names(body: Any) -> list[str]:
    return [row["name"] for row in body["things"]]


def test_without_a_word_all_that_one_answer_may_have() -> None:
    things = [Thing(f"{number:05}", 0) for number in reversed(range(PAGE_ROWS + 1))]
    body = ask(things)
    assert len(body["things"]) == PAGE_ROWS
    assert body["total"] == PAGE_ROWS + 1
    last = ask(things, after=body["next"])
    assert (names(last), last["next"]) == ([f"{PAGE_ROWS:05}"], None)


THINGS = st.lists(
    st.builds(Thing, st.text("abé", max_size=2), st.none() | st.integers(-3, 3)), max_size=20
)


@given(THINGS, st.integers(1, 5), st.sampled_from(["", "name", "-name", "size", "-size"]))
def test_the_pages_are_the_whole(things: list[Thing], limit: int, sort: str) -> None:
    for number, thing in enumerate(things):
        thing.number = number
    query = {"sort": sort} if sort else {}
    seen: list[Any] = []
    more: dict[str, str] = {}
    while True:
        body = ask(things, limit=str(limit), **query, **more)
        assert body["total"] == len(things)
        seen += body["things"]
        if body["next"] is None:
            break
        assert len(body["things"]) == limit
        more = {"after": body["next"]}
    field = sort.removeprefix("-") or "name"
    values = [row[field] for row in seen]
    missing = -9 if field == "size" else ""
    backwards = sort.startswith("-")
    assert values == sorted(
        values, key=lambda one: missing if one is None else one, reverse=backwards
    )
    assert len(seen) == len(things)


def test_what_is_there_all_the_time_is_seen_once() -> None:
    things = [Thing(name, 0) for name in "bdfh"]
    first = ask(things, limit="2")
    assert names(first) == ["b", "d"]
    del things[0]  # The page before gets shorter, and longer.
    things += [Thing("a", 0), Thing("a", 0, 1), Thing("c", 0)]
    assert names(ask(things, limit="2", after=first["next"])) == ["f", "h"]


def test_a_search_is_for_a_part_in_any_case() -> None:
    things = [Thing("GPU1", 0), Thing("gpu12", 0), Thing("cpu", 0)]
    body = ask(things, search="gPu1")
    assert (names(body), body["total"]) == (["GPU1", "gpu12"], 2)
    assert ask(things, search="nothing") == {"things": [], "total": 0, "next": None}


def test_others_have_their_turns() -> None:
    things = [Thing(str(number), 0) for number in range(20 * SEEN_PER_TURN)]

    async def main() -> int:
        made = asyncio.ensure_future(page("things", things, LISTING, wanted({}, LISTING)))
        turns = 0
        while not made.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert anyio.run(main) > 40


@pytest.mark.parametrize(
    "query",
    [
        {"limit": limit} for limit in
        ("", "0", "-1", "1.5", "x", str(PAGE_ROWS + 1), "9" * 5000, "٣", " 1")
    ] + [
        {"sort": sort} for sort in ("", "-", "--name", "colour", "__class__")
    ] + [
        {"search": "x" * (SEARCH_LENGTH + 1)},
    ] + [
        {"after": after} for after in (
            "", "x", "{}", "1", "null", "[]", "[1]", '["a"]', '["a", "b"]', '["a", 1, 2]',
            '["a", 1.5]', '["a", true]', '["a", NaN]', '["a", null]', "[" * 3000,
            '["a", ' + "9" * 4200 + "]", json.dumps(["a" * AFTER_LENGTH, 1]),
        )
    ] + [
        {"sort": "size", "after": after} for after in
        ('["a", 1]', '["a", "a", 1]', '[Infinity, "a", 1]', '[true, "a", 1]', '[[], "a", 1]')
    ],
)  # fmt: skip
def test_nonsense_is_told_so(query: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^(limit|sort|search|after) "):
        ask([Thing("a", None), Thing("b", 2)], **query)
