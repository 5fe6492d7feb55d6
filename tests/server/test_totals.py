"""Traffic by name: it outlives who published the name, and there are never too many names."""

from __future__ import annotations

from relay.server.totals import TrafficByName


def test_it_counts_on_when_its_agent_is_back() -> None:
    totals = TrafficByName()
    first = totals.begin("gpu1:8000")
    first.moved(1, 2)
    totals.end("gpu1:8000", first)
    assert totals.begin("gpu1:8000") is first
    assert dict(totals) == {"gpu1:8000": first}


def test_those_who_share_a_name_count_together() -> None:
    totals = TrafficByName(1)
    first, second = totals.begin("gpu1:8000"), totals.begin("gpu1:8000")
    assert first is second
    totals.end("gpu1:8000", first)
    assert totals.begin("gpu2:8000") is totals.others  # gpu1 is there still.


def test_of_too_many_names_the_last_are_one() -> None:
    totals = TrafficByName(2)
    traffics = [totals.begin(f"gpu{number}:8000") for number in range(5)]
    assert [name for name, _ in totals] == ["gpu0:8000", "gpu1:8000"]
    assert all(traffic is totals.others for traffic in traffics[2:])
    for number, traffic in enumerate(traffics[2:], 2):
        totals.end(f"gpu{number}:8000", traffic)
    assert len(list(totals)) == 2


def test_a_name_that_nobody_has_makes_room() -> None:
    totals = TrafficByName(2)
    first, second = totals.begin("a:1"), totals.begin("b:1")
    totals.end("a:1", first)
    third = totals.begin("c:1")
    assert dict(totals) == {"b:1": second, "c:1": third}
    # It comes back among the others, and its end is not that of a name that is told apart.
    assert totals.begin("a:1") is totals.others
    totals.end("c:1", third)
    assert totals.begin("a:1") is not totals.others
    totals.end("a:1", totals.others)
    assert totals.begin("d:1") is totals.others
