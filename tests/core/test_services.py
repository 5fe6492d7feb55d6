"""relay/core/services.py: two kinds of service, one holder each."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.services import (
    MAX_NAME_BYTES,
    Registry,
    ServiceError,
    ServiceHeld,
    is_address,
    is_privileged,
    validate_name,
)

ADDRESSES = ["", "*", "localhost", "LocalHost", "127.0.0.1", "::1", "0.0.0.0", "::", "10.1.2.3"]


@pytest.fixture
def registry() -> Registry[str]:
    return Registry()


@pytest.mark.parametrize("bind", [*ADDRESSES, "fe80::1%eth0", "::ffff:127.0.0.1"])
def test_addresses(bind: str) -> None:
    assert is_address(bind)


@pytest.mark.parametrize("bind", ["gpu1", "localhost1", "0", "127.1", "10.0.0.256", "a.b.c.d"])
def test_names(bind: str) -> None:
    assert not is_address(bind)


@pytest.mark.parametrize("name", ["gpu1", "GPU_1", "gpu-1.lab.example", "büro", "a" * 255])
def test_good_names(name: str) -> None:
    validate_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a\tb",
        "a\nb",
        "a\x00",
        "a\x7f",
        "a\u202eb",
        "\ud800",
        "gpu*",
        "gpu?",
        "a:1",
        "[a]",
        "a" * 256,
        "ü" * 128,
    ],
)
def test_bad_names(registry: Registry[str], name: str) -> None:
    with pytest.raises(ServiceError) as caught:
        validate_name(name)
    assert str(caught.value).isprintable()
    if not is_address(name):
        with pytest.raises(ServiceError):
            registry.publish(name, 1, "c")
        assert registry.held_by("c") == []


@given(st.text())
def test_any_name_is_good_or_refused_in_our_own_words(name: str) -> None:
    try:
        validate_name(name)
    except ServiceError:
        return
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES


def test_a_named_service(registry: Registry[str]) -> None:
    service = registry.publish("Gpu1", 8000, "c")
    assert (service.bind, service.port, service.holder) == ("Gpu1", 8000, "c")
    assert str(service) == "Gpu1:8000"
    assert registry.find_all("gpu1", 8000) == (service,)
    assert registry.find_all("GPU1", 8000) == (service,)
    assert registry.find_all("gpu1", 8001) == ()
    for address in ADDRESSES:
        assert registry.find_all(address, 8000) == ()


def test_a_port_service_is_reached_by_every_name_of_this_machine(registry: Registry[str]) -> None:
    service = registry.publish("localhost", 2000, "c")
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "", "*", "::"):
        assert registry.find_all(host, 2000) == (service,)
        assert registry.find_all(host, 2001) == ()
    assert registry.find_all("::ffff:127.0.0.1", 2000) == (service,)
    # A relay is no open proxy, and not a proxy to its own network.
    for host in ("10.1.2.3", "192.0.2.1", "2001:db8::1", "gpu1", "example.com"):
        assert registry.find_all(host, 2000) == ()


def test_how_services_are_shown(registry: Registry[str]) -> None:
    assert str(registry.publish("localhost", 1, "c")) == "localhost:1"
    assert str(registry.publish("::1", 2, "c")) == "[::1]:2"
    assert str(registry.publish("", 3, "c")) == "*:3"


def test_services_are_told_in_the_order_of_their_publication(registry: Registry[str]) -> None:
    c, d = "c", "d"
    services = [
        registry.publish(name, 1, holder) for name, holder in (("x", c), ("y", d), ("z", c))
    ]
    assert list(registry) == services
    registry.withdraw(services[1])
    assert list(registry) == [services[0], services[2]]
    assert registry.withdraw_all(c) == [services[0], services[2]]
    assert list(registry) == []


@pytest.mark.parametrize(
    ("bind", "port", "expected"),
    [("localhost", 1, True), ("", 1023, True), ("::1", 1024, False), ("*", 0, False),
     ("gpu1", 1, False)],
)  # fmt: skip
def test_a_port_that_only_root_may_open(bind: str, port: int, expected: bool) -> None:
    assert is_privileged(bind, port) is expected


def test_a_port_has_one_holder() -> None:
    for first, second in product(ADDRESSES, ADDRESSES):
        registry: Registry[str] = Registry()
        service = registry.publish(first, 2000, "c")
        with pytest.raises(ServiceHeld, match="2000 is already published by c") as caught:
            registry.publish(second, 2000, "d")
        assert caught.value.service is service
        assert registry.at(second, 2000) is service
        assert registry.held_by("d") == []
        registry.publish("gpu1", 2000, "d")
        registry.publish(second, 2001, "d")


def test_a_name_has_one_holder(registry: Registry[str]) -> None:
    registry.publish("gpu1", 8000, "c")
    for holder in ("c", "d"):
        with pytest.raises(ServiceHeld, match="gpu1:8000 is already published by c"):
            registry.publish("GPU1", 8000, holder)
    registry.publish("gpu1", 8001, "d")
    registry.publish("gpu2", 8000, "d")


@pytest.mark.parametrize("port", [-1, 0, 65536, 2**32 - 1])
def test_ports_that_no_service_can_have(registry: Registry[str], port: int) -> None:
    for bind in ("gpu1", "localhost"):
        with pytest.raises(ServiceError, match="1 to 65535"):
            registry.publish(bind, port, "c")


def test_withdraw(registry: Registry[str]) -> None:
    old = registry.publish("gpu1", 8000, "c")
    registry.withdraw(old)
    assert registry.find_all("gpu1", 8000) == ()
    registry.withdraw(old)
    new = registry.publish("gpu1", 8000, "d")
    # A late withdrawal of the old service must not take the new one away.
    registry.withdraw(old)
    assert registry.find_all("gpu1", 8000) == (new,)


class Leg:
    """A holder whose instances all compare equal, as careless holders may."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Leg)

    __hash__ = None  # type: ignore[assignment]


def test_withdraw_all_is_for_this_very_holder() -> None:
    registry: Registry[Leg] = Registry()
    c, d = Leg(), Leg()
    first = registry.publish("gpu1", 1, c)
    other = registry.publish("gpu1", 2, d)
    second = registry.publish("localhost", 1, c)
    assert registry.held_by(c) == [first, second]
    assert registry.withdraw_all(c) == [first, second]
    assert registry.withdraw_all(c) == []
    assert registry.find_all("gpu1", 1) == ()
    assert registry.find_all("localhost", 1) == ()
    assert registry.find_all("gpu1", 2) == (other,)


def test_a_shared_service_is_published_by_several(registry: Registry[str]) -> None:
    one = registry.publish("+gpu1", 8000, "agent 1")
    two = registry.publish("+GPU1", 8000, "agent 2")
    assert registry.find_all("gpu1", 8000) == registry.all_at("+gpu1", 8000) == (one, two)
    assert (str(one), one.bind, two.bind) == ("gpu1:8000", "+gpu1", "+GPU1")
    registry.withdraw(one)
    assert registry.find_all("gpu1", 8000) == (two,)
    assert registry.withdraw_all("agent 2") == [two]
    assert list(registry) == []


def test_a_service_is_shared_only_if_all_want_to(registry: Registry[str]) -> None:
    registry.publish("+gpu1", 8000, "agent 1")
    registry.publish("gpu2", 8000, "agent 1")
    for name, holder in (("gpu1", "agent 2"), ("+gpu2", "agent 2"), ("+gpu1", "agent 1")):
        with pytest.raises(ServiceHeld):
            registry.publish(name, 8000, holder)


@pytest.mark.parametrize("bind", ["+localhost", "+127.0.0.1", "+", "++gpu1"])
def test_what_cannot_be_shared(registry: Registry[str], bind: str) -> None:
    with pytest.raises(ServiceError):
        registry.publish(bind, 8000, "agent")


def test_the_mark_is_no_part_of_what_one_opens(registry: Registry[str]) -> None:
    registry.publish("+gpu1", 8000, "agent")
    assert not registry.find_all("+gpu1", 8000)


class Counted(dict[int, object]):
    """A table that counts how often somebody goes through it."""

    walks = 0

    def values(self) -> Any:
        Counted.walks += 1
        return super().values()


def test_nobody_goes_through_the_services_of_others() -> None:
    """Ten thousand agents may come back at once."""
    registry: Registry[Leg] = Registry()
    registry._services = Counted()  # type: ignore[assignment]
    legs = [Leg() for _ in range(100)]
    Counted.walks = 0
    for number, leg in enumerate(legs):
        registry.publish("gpu", number + 1, leg)
        assert len(registry.held_by(leg)) == 1
        assert len(registry) == number + 1
    for leg in legs:
        assert len(registry.withdraw_all(leg)) == 1
    assert Counted.walks == 0
    assert len(registry) == 0
    assert not registry._by_holder
