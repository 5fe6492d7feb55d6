"""What `relay-agent` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from relay.settings.client import FORWARD, ClientLogSettings, ClientSettings
from relay.settings.general import (
    GENERAL,
    busy_poll_option,
    http_option,
    http_token_option,
    max_window_option,
    once_option,
    resume_option,
)
from relay.settings.kinds import NUMBER, POSITIVE_SECONDS, STATE_FOLDER, YES_OR_NO, text
from relay.settings.option import option, part

SOCKS_EXIT: Final = "--socks-exit"

_published = partial(option, group="what to publish")
_checked = partial(option, group="whether it is there")
_end_to_end = partial(option, group="end to end, without trust in the server")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """The flags. With the files of ssh_config they make an `AgentConfig`."""

    remote_forwards: tuple[str, ...] = _published(
        "-R",
        keyword="RemoteForward",
        kind=text(FORWARD),
        many=True,
        default=(),
        help="publish host:hostport, repeatable; bind is a name (gpu1: a service under that name, "
        "no port is opened) or an address of the server; port 0: the server picks one; "
        "/path/of/a/socket may stand for host:hostport",
    )
    socks_exit: bool = _published(
        SOCKS_EXIT,
        default=False,
        help="-R without a target is meant: who opens it names any host and port that this machine "
        "reaches, in SOCKS (-o PermitRemoteOpen says which, and needs no flag)",
    )
    share: bool = _published(
        "--share",
        default=False,
        help="publish them together with other agents, each with a key of its own; "
        "the server's operator must permit it (--share-services)",
    )
    check: tuple[str, ...] = _checked(
        "--check",
        kind=text("[NAME:PORT=]CHECK"),
        many=True,
        default=(),
        help="withdraw what does not answer until it does: tcp (it takes a connection) or "
        "http:/path (a GET is answered by 2xx or 3xx); repeatable, with gpu1:8000= before it for "
        "that -R alone",
    )
    check_interval: float = _checked(
        "--check-interval",
        kind=POSITIVE_SECONDS,
        default=5.0,
        help="from one check of a service to the next (default {default})",
    )
    check_timeout: float = _checked(
        "--check-timeout",
        kind=POSITIVE_SECONDS,
        default=3.0,
        help="within which it must answer (default {default})",
    )
    check_count: int = _checked(
        "--check-count",
        kind=NUMBER,
        default=2,
        help="checks in a row that must fail, or succeed, to change anything (default {default})",
    )
    endpoint: str | None = _end_to_end(
        "--endpoint",
        kind=text("NAME[:PORT]"),
        default=None,
        help="serve SSH sessions as NAME (ssh -J server NAME), inside this program: "
        "no shell, only forwards; with an sshd as server, PORT opens there (default 22)",
    )
    state_dir: Path = _end_to_end(
        "--state-dir",
        kind=STATE_FOLDER,
        help="folder of the endpoint's host key and authorized_keys (default {default})",
    )
    strict_modes: Literal["yes", "no"] = _end_to_end(
        "--strict-modes",
        kind=YES_OR_NO,
        default="yes",
        help="use no authorized_keys that others can write, as StrictModes of sshd "
        "(default {default})",
    )
    allow: tuple[str, ...] = _end_to_end(
        "--allow",
        kind=text("HOST:PORT"),
        many=True,
        default=(),
        help="what sessions may reach, repeatable; * for any port "
        "(default localhost and 127.0.0.1, any port)",
    )
    allow_reverse: bool = _end_to_end(
        "--allow-reverse",
        default=False,
        help="let sessions ask for -R as well, on this machine's loopback",
    )
    resume_for: float = resume_option("end to end, without trust in the server")
    once: bool = once_option("staying connected")
    busy_poll: int = busy_poll_option("speed")
    max_window: int = max_window_option("speed")
    http: tuple[str, int] | Path | None = http_option(GENERAL, "numbers for Prometheus")
    http_token_file: Path | None = http_token_option(GENERAL)
    client: ClientSettings = part(ClientSettings)
    log: ClientLogSettings = part(ClientLogSettings)
