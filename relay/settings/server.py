"""What `relay-server` can be told, by flags and by the file of `--config`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from relay.core import limits
from relay.core.hold import HOLD
from relay.core.limits import CLIENT_ALIVE_COUNT_MAX, CLIENT_ALIVE_INTERVAL, NetBlockSize, Startups
from relay.settings.general import (
    LogSettings,
    busy_poll_option,
    http_option,
    http_token_option,
)
from relay.settings.kinds import (
    ADDRESS,
    CIPHER_LIST,
    NET_BLOCK_SIZE,
    NO_OR_YES,
    NUMBER,
    NUMBER_OR_0,
    NUMBER_OR_NONE,
    POSITIVE_SECONDS,
    PRIVATE_FILE,
    REKEY_LIMIT,
    SECONDS,
    SIZE,
    STARTUPS,
    STATE_FOLDER,
    TRUSTED_FILE,
    YES_OR_NO,
    one_of,
    text,
)
from relay.settings.option import option, part
from relay.sshconfig.client import GatewayPorts, YesNo

DRAIN: Final = 10.0
"""Seconds for which streams may go on after a signal to stop: an answer under way is done by then,
and less than any supervisor waits before it kills."""

_place = partial(option, group="where and who", fixed=True)
_allowed = partial(option, group="what is allowed")
_encryption = partial(option, group="encryption")
_limit = partial(option, group="limits, each told once in the log when it is hit")
_operation = partial(option, group="operation")


@dataclass(frozen=True, slots=True)
class Limits:
    """What B's operator may limit. The constants of the same names in `relay/core/limits.py` say
    why."""

    max_startups: Startups = _limit(
        "--max-startups",
        kind=STARTUPS,
        default=Startups(),
        help="connections that have not logged in, as MaxStartups of sshd ({default})",
    )
    per_source_max_startups: int = _limit(
        "--per-source-max-startups",
        kind=NUMBER_OR_NONE,
        default=limits.PER_SOURCE_MAX_STARTUPS,
        help="those of one source, as PerSourceMaxStartups; none: any number ({default})",
    )
    """0: any number."""
    per_source_net_block_size: NetBlockSize = _limit(
        "--per-source-net-block-size",
        kind=NET_BLOCK_SIZE,
        default=NetBlockSize(),
        help="bits of an IPv4 and an IPv6 address that make a source, as PerSourceNetBlockSize "
        "({default})",
    )
    login_grace_time: float = _limit(
        "--login-grace-time",
        kind=POSITIVE_SECONDS,
        default=limits.LOGIN_GRACE_TIME,
        help="time to log in ({default})",
    )
    max_auth_tries: int = _limit(
        "--max-auth-tries",
        kind=NUMBER,
        default=limits.MAX_AUTH_TRIES,
        help="refused keys on one connection ({default})",
    )
    max_failed_tries: int = _limit(
        "--max-failed-tries",
        kind=NUMBER_OR_0,
        default=limits.MAX_FAILED_TRIES,
        help="refused keys from one source, before it has to wait longer and longer; 0: any number "
        "({default})",
    )
    legs_per_key: int = _limit(
        "--legs-per-key",
        kind=NUMBER,
        default=limits.LEGS_PER_KEY,
        help="connections of one key ({default})",
    )
    services_per_key: int = _limit(
        "--services-per-key",
        kind=NUMBER,
        default=limits.SERVICES_PER_KEY,
        help="services of one key ({default})",
    )
    channels_per_leg: int = _limit(
        "--channels-per-leg",
        kind=NUMBER,
        default=limits.CHANNELS_PER_LEG,
        help="open streams on one connection ({default})",
    )
    waiting_per_leg: int = _limit(
        "--waiting-per-leg",
        kind=SIZE,
        default=limits.WAITING_PER_LEG,
        help="bytes that may wait for one connection ({default})",
    )
    waiting_per_process: int = _limit(
        "--waiting-per-process",
        kind=SIZE,
        default=limits.WAITING_PER_PROCESS,
        help="bytes that may wait for all together ({default})",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Everything `relay-server` can be told."""

    listen: tuple[tuple[str, int], ...] = _place(
        "--listen",
        kind=ADDRESS,
        many=True,
        default=(("0.0.0.0", 2222), ("::", 2222)),
        help="repeatable; [::1]:2222 for IPv6, port 0 picks one (default {default})",
    )
    state_dir: Path = _place(
        "--state-dir",
        kind=STATE_FOLDER,
        help="folder of the host key and authorized_keys (default {default})",
    )
    host_keys: tuple[Path, ...] = _place(
        "--host-key",
        kind=PRIVATE_FILE,
        many=True,
        default=(),
        help="private host key, repeatable (default: one in the state folder, made if missing)",
    )
    """Empty: `ssh_host_ed25519_key` in the state folder, made at the first start."""
    host_certificates: tuple[Path, ...] = _place(
        "--host-certificate",
        kind=PRIVATE_FILE,
        many=True,
        default=(),
        help="certificate of a host key, which clients check by @cert-authority; repeatable",
    )
    authorized_keys: Path | None = _place(
        "--authorized-keys",
        kind=TRUSTED_FILE,
        default=None,
        help="the public keys that may log in, in sshd's format (default: in the state folder)",
    )
    strict_modes: YesNo = _place(
        "--strict-modes",
        kind=YES_OR_NO,
        default="yes",
        fixed=False,
        help="use no authorized_keys that others can write, as StrictModes of sshd "
        "(default {default})",
    )
    gateway_ports: GatewayPorts = _allowed(
        "--gateway-ports",
        kind=one_of("no", "yes", "clientspecified"),
        default="no",
        help="may published ports be reached from outside, as in sshd_config (default {default})",
    )
    privileged_ports: YesNo = _allowed(
        "--privileged-ports",
        kind=NO_OR_YES,
        default="no",
        help="may a key publish a port below 1024 that no permitlisten of it names "
        "(default {default})",
    )
    share_services: tuple[str, ...] = _allowed(
        "--share-services",
        kind=text("PATTERN"),
        many=True,
        default=(),
        help="services that several agents may publish together (relay-agent --share), such as "
        "gpu*:8000; repeatable",
    )
    ciphers: tuple[str, ...] = _encryption(
        "--ciphers",
        kind=CIPHER_LIST,
        default=(),
        help="ciphers to offer, with commas (default: AES-GCM, or what else an old client has)",
    )
    """Empty: `algorithms.CIPHERS`."""
    rekey_limit: int = _encryption(
        "--rekey-limit",
        kind=REKEY_LIMIT,
        default=0,
        help="change keys after so many bytes, such as 512M or 1G (default: the cipher's)",
    )
    """Bytes in either direction; 0: what the cipher allows."""
    limits: Limits = part(Limits)
    drain: float = _operation(
        "--drain",
        kind=SECONDS,
        default=DRAIN,
        help="after SIGTERM, let open streams go on for so long (default {default})",
    )
    hold: float = _operation(
        "--hold",
        kind=SECONDS,
        default=HOLD,
        help="let who opens a service whose agent has just gone wait so long for its return; "
        "0: refuse at once (default {default})",
    )
    client_alive_interval: float = _operation(
        "--client-alive-interval",
        kind=SECONDS,
        default=CLIENT_ALIVE_INTERVAL,
        help="after so much silence ask a client whether it is there, as ClientAliveInterval of "
        "sshd; 0: never (default {default})",
    )
    client_alive_count_max: int = _operation(
        "--client-alive-count-max",
        kind=NUMBER_OR_0,
        default=CLIENT_ALIVE_COUNT_MAX,
        help="give it up after so many questions without an answer; 0: never (default {default})",
    )
    http: tuple[str, int] | Path | None = http_option("operation", "numbers and a page")
    http_token_file: Path | None = http_token_option("operation")
    busy_poll: int = busy_poll_option("operation")
    log: LogSettings = part(LogSettings)
