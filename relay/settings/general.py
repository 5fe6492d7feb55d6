"""What all three programs have: their log, and how eagerly they wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from relay.core.limits import BUSY_POLL, RESUME_FOR
from relay.core.window import MOST, START
from relay.settings.kinds import (
    DURATION,
    HTTP_ADDRESS,
    MICROSECONDS,
    PRIVATE_FILE,
    WINDOW_SIZE,
    one_of,
    show_size,
)
from relay.settings.option import option

GENERAL: Final = "general"
"""The heading of what has no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is said, and how."""

    verbose: int = option(
        "-v",
        "--verbose",
        counted=True,
        default=0,
        group=GENERAL,
        fixed=True,
        help="say more; -vv and -vvv: the SSH library's log too",
    )
    log_format: Literal["human", "json"] = option(
        "--log-format",
        kind=one_of("human", "json"),
        default="human",
        group=GENERAL,
        fixed=True,
        help="json: one object per line and event",
    )


def busy_poll_option(group: str) -> Any:
    """`--busy-poll`, of all three programs."""
    return option(
        "--busy-poll",
        kind=MICROSECONDS,
        default=BUSY_POLL,
        group=group,
        help="poll for so long, where it pays, before going to sleep: small requests are answered "
        "sooner, for some processor time; 0: never (default {default})",
    )


def http_option(group: str, what: str) -> Any:
    """`--http`, of all three programs."""
    return option(
        "--http",
        kind=HTTP_ADDRESS,
        default=None,
        group=group,
        fixed=True,
        help=f"serve {what} there, such as 127.0.0.1:9222 or the path of a unix socket; "
        "needs `pip install 'ssh-relay[web]'`",
    )


def http_token_option(group: str) -> Any:
    """`--http-token-file`, of all three programs."""
    return option(
        "--http-token-file",
        kind=PRIVATE_FILE,
        default=None,
        group=group,
        fixed=True,
        help="who asks must have the token in it; needed where --http is no loopback address",
    )


def max_window_option(group: str) -> Any:
    """`--max-window`, of the two programs that take streams from B."""
    return option(
        "--max-window",
        kind=WINDOW_SIZE,
        default=MOST,
        group=group,
        help="bytes that one stream may have under way to this machine, over a long path "
        f"(default {{default}}; a stream starts with {show_size(START)})",
    )


def resume_option(group: str) -> Any:
    """`--resume-for`, of the two programs that are ends of sessions."""
    return option(
        "--resume-for",
        kind=DURATION,
        default=RESUME_FOR,
        group=group,
        help="keep the streams of a session end to end for so long when its way is lost: they go "
        "on where they were as soon as there is another; 0: never (default {default})",
    )


def once_option(group: str) -> Any:
    """`--once`, of the two programs that otherwise reconnect."""
    return option(
        "--once",
        default=False,
        group=group,
        help="do not reconnect: exit when the connection fails or is lost",
    )
