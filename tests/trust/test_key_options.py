"""relay/trust/key_options.py: the options in front of a key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.trust.key_options import FLAGS, VALUES, KeyOptions, OptionError, parse_options


def test_no_options() -> None:
    assert parse_options("") == KeyOptions()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("restrict", False),
        ("no-port-forwarding", False),
        ("port-forwarding", True),
        ("restrict,port-forwarding", True),
        ("port-forwarding,restrict", False),
        ("RESTRICT,Port-Forwarding", True),
        ("restrict,port-forwarding,no-port-forwarding", False),
        ("restrict,pty", False),
    ],
)
def test_port_forwarding_in_turn(text: str, expected: bool) -> None:
    assert parse_options(text).grant.port_forwarding is expected


def test_permits_accumulate() -> None:
    options = parse_options(
        'permitopen="a:1",restrict,PermitOpen="b:*",permitlisten="2000",permitlisten="c:3"'
    )
    assert [str(permit) for permit in options.grant.permitopen or ()] == ["a:1", "b:*"]
    assert [str(permit) for permit in options.grant.permitlisten or ()] == ["*:2000", "c:3"]
    assert not options.grant.port_forwarding


def test_none_permits_nothing() -> None:
    assert parse_options('permitopen="none"').grant.permitopen == ()
    assert not parse_options('permitlisten="none"').grant.may_publish("a", 1)


def test_what_has_no_meaning_here_changes_nothing() -> None:
    text = 'no-pty,no-agent-forwarding,no-X11-forwarding,no-user-rc,pty,user-rc,command="a \\"b",'
    text += 'environment="A=1",environment="B=2",tunnel="0",agent-forwarding,x11-forwarding'
    assert parse_options(text) == KeyOptions()


def test_certification_authority() -> None:
    options = parse_options('cert-authority,principals="a,B c"')
    assert options.is_ca
    assert options.principals == ("a", "B c")


def test_quotes_as_in_sshd() -> None:
    # \" is a quote, any other backslash is itself; a comma inside quotes divides nothing.
    options = parse_options('cert-authority,principals="a\\"b,c\\d",restrict')
    assert options.principals == ('a"b', "c\\d")
    assert not options.grant.port_forwarding


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20300102Z", datetime(2030, 1, 2, tzinfo=UTC)),
        ("203001020304Z", datetime(2030, 1, 2, 3, 4, tzinfo=UTC)),
        ("20300102030405z", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("20300102UTC", datetime(2030, 1, 2, tzinfo=UTC)),
        ("20300102", datetime(2030, 1, 1, 22, tzinfo=UTC)),
        ("203001020304", datetime(2030, 1, 2, 1, 4, tzinfo=UTC)),
    ],
)
def test_expiry(text: str, expected: datetime) -> None:
    zone = timezone(timedelta(hours=2))
    expires = parse_options(f'expiry-time="{text}"', zone).expires
    assert expires == expected
    assert expires is not None
    assert expires.tzinfo is UTC


def test_expiry_in_the_zone_of_the_system() -> None:
    expected = datetime(2030, 7, 2).astimezone(UTC)
    assert parse_options('expiry-time="20300702"').expires == expected


def test_the_earliest_expiry_counts() -> None:
    for text in (
        'expiry-time="20300102Z",expiry-time="20200102Z"',
        'expiry-time="20200102Z",expiry-time="20300102Z"',
    ):
        assert parse_options(text).expires == datetime(2020, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2030",
        "20301301",
        "20300230Z",
        "2030010225",
        "203001020304051",
        "20300102 Z",
        "00010101",
    ],
)
def test_bad_expiry(text: str) -> None:
    with pytest.raises(OptionError, match="expiry-time"):
        parse_options(f'expiry-time="{text}"', timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo", 'unknown option "foo"'),
        ("restrictx", 'unknown option "restrictx"'),
        ("no-restrict", 'unknown option "no-restrict"'),
        ("no-cert-authority", "unknown option"),
        ("touch-required", "unknown option"),
        ("no-verify-required", "unknown option"),
        ('foo="x"', 'unknown option "foo"'),
        ("restrict,", "empty"),
        (",restrict", "empty"),
        ("restrict,,pty", "empty"),
        ('restrict="x"', "takes no value"),
        ("permitopen", "needs a value"),
        ("permitopen=a:1", "double quotes"),
        ('permitopen="a:1', "double quotes"),
        ('permitopen="a:1\\"', "double quotes"),
        ('permitopen="a:1"x', "followed by 'x'"),
        ('permitopen="a:1,b:2"', "permitopen"),
        ('permitopen="a"', "permitopen"),
        ('permitlisten="0"', "permitlisten"),
        ('from=""', "from"),
        ('from="10.0.0.1/8"', "from"),
        ('from="a",from="b"', "twice"),
        ('command="a",command="b"', "twice"),
        ('cert-authority,principals="a",principals="b"', "twice"),
        ('principals="a"', "cert-authority"),
        ('cert-authority,principals=""', "empty"),
        ('cert-authority,principals="a,,b"', "empty"),
    ],
)
def test_bad_options(text: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        parse_options(text)


fragments = st.sampled_from(
    [
        *FLAGS,
        *VALUES,
        ",",
        "=",
        '"',
        "\\",
        "no-",
        "*",
        ":",
        "a:1",
        "2000",
        "20300101",
        "Z",
        "é",
        " ",
    ]
)


@given(st.text() | st.lists(fragments).map("".join))
def test_any_text_is_parsed_or_refused_in_our_own_words(text: str) -> None:
    try:
        parse_options(text)
    except OptionError:
        pass


@given(st.text())
def test_any_value_can_be_quoted(value: str) -> None:
    # A backslash before the closing quote cannot be written in OpenSSH's syntax.
    if not value.endswith("\\") and '\\"' not in value:
        quoted = value.replace('"', '\\"')
        assert parse_options(f'command="{quoted}",restrict') == parse_options("restrict")
