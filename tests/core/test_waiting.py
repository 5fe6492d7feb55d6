"""relay/core/waiting.py: who is told when something may be granted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.core.waiting import WaitingList


def test_who_was_refused_waits_until_it_has_it() -> None:
    waiting: WaitingList[str] = WaitingList()
    waiting.add("c", "gpu1", 8000, most=9)
    waiting.add("d", "GPU1", 8000, most=9)
    waiting.add("c", "+gpu1", 8000, most=9)
    waiting.add("c", "localhost", 80, most=9)
    assert waiting.waiting_for("gpu1", 8000) == ("c", "d")
    assert waiting.waiting_for("127.0.0.1", 80) == ("c",)
    waiting.remove("c", "gpu1", 8000)
    waiting.remove("c", "gpu1", 8000)
    assert waiting.waiting_for("gpu1", 8000) == ("d",)
    assert set(waiting.everybody()) == {"c", "d"}
    waiting.forget("c")
    waiting.forget("c")
    assert waiting.everybody() == ("d",)


def test_nobody_makes_us_remember_without_end() -> None:
    waiting: WaitingList[str] = WaitingList()
    for port in range(1, 100):
        waiting.add("c", "gpu1", port, most=5)
    assert sum(bool(waiting.waiting_for("gpu1", port)) for port in range(1, 100)) == 5


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "forget"]), st.sampled_from("cde"), st.integers(1, 4)
    )
)


@given(STEPS)
def test_both_tables_agree(steps: list[tuple[str, str, int]]) -> None:
    waiting: WaitingList[str] = WaitingList()
    known: set[tuple[str, int]] = set()
    for step, agent, port in steps:
        if step == "add":
            waiting.add(agent, "gpu1", port, most=9)
            known.add((agent, port))
        elif step == "remove":
            waiting.remove(agent, "gpu1", port)
            known.discard((agent, port))
        else:
            waiting.forget(agent)
            known = {pair for pair in known if pair[0] != agent}
    for port in range(1, 5):
        assert set(waiting.waiting_for("gpu1", port)) == {a for a, at in known if at == port}
    assert set(waiting.everybody()) == {agent for agent, _ in known}
