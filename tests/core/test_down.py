"""relay/core/down.py: whose word counts, for how long, and how much of it."""

from __future__ import annotations

from relay.core.down import DOWN_PER_KEY, DOWN_SERVICES, LONGEST_AGE, LONGEST_REASON, DownServices


def test_until_it_is_published_again_or_its_teller_is_gone() -> None:
    down: DownServices[str] = DownServices()
    down.say(("a", 1), "leg", b"key", "no", 5.0, 100.0)
    down.say(("b", 1), "leg", b"key", "no", 5.0, 100.0)
    down.say(("c", 1), "other", b"key", "no", 5.0, 100.0)
    said = down.get(("a", 1))
    assert said is not None
    assert (said.teller, said.reason, said.since) == ("leg", "no", 95.0)
    assert [key for key, _ in down] == [("a", 1), ("b", 1), ("c", 1)]
    down.end(("a", 1))
    down.end(("a", 1))
    assert down.get(("a", 1)) is None
    down.forget("leg")
    down.forget("leg")
    assert down.get(("b", 1)) is None
    assert down.get(("c", 1)) is not None
    down.end(("c", 1))
    assert len(down) == 0


def test_the_last_word_counts() -> None:
    down: DownServices[str] = DownServices()
    down.say(("a", 1), "one", b"key", "first", 0.0, 0.0)
    down.say(("a", 1), "two", b"key", "second", 0.0, 0.0)
    down.forget("one")
    said = down.get(("a", 1))
    assert said is not None
    assert said.reason == "second"
    assert len(down) == 1


def test_one_key_says_so_much_and_all_together_so_much() -> None:
    down: DownServices[str] = DownServices()
    for number in range(2 * DOWN_PER_KEY):
        down.say((f"{number}", 1), "leg", b"key", "no", 0.0, 0.0)
    assert len(down) == DOWN_PER_KEY
    for number in range(2 * DOWN_SERVICES):
        down.say((f"x{number}", 1), f"{number}", f"{number}", "no", 0.0, 0.0)
    assert len(down) == DOWN_SERVICES


def test_what_is_said_is_a_line() -> None:
    down: DownServices[str] = DownServices()
    down.say(("a", 1), "leg", b"key", "\x1b[2J\r\n" + "é" * 10_000, 1e19, 0.0)
    said = down.get(("a", 1))
    assert said is not None
    assert said.reason == "?[2J??" + "é" * (LONGEST_REASON - 6)
    assert said.since == -LONGEST_AGE
