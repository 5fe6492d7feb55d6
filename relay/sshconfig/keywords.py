"""The keywords of ssh_config(5): those that we obey, those that mean nothing here, all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from relay.sshconfig import proxy, values
from relay.sshconfig.words import Line

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Keyword(Generic[T_co]):
    """A keyword, how its value is read, and whether values add up (else the first one counts)."""

    name: str
    parse: Callable[[Line], T_co]
    adds_up: bool = False


INET: Final[dict[str, Literal["any", "inet", "inet6"]]] = {
    "any": "any",
    "inet": "inet",
    "inet6": "inet6",
}
CHECKING: Final[dict[str, Literal["yes", "no", "ask", "accept-new"]]] = {
    "yes": "yes",
    "no": "no",
    "ask": "ask",
    "accept-new": "accept-new",
    "true": "yes",
    "false": "no",
    "off": "no",
}
VERBOSITY: Final = {
    # The count of -v; -1 is -q.
    "QUIET": -1,
    "FATAL": -1,
    "ERROR": -1,
    "INFO": 0,
    "VERBOSE": 1,
    "DEBUG": 1,
    "DEBUG1": 1,
    "DEBUG2": 2,
    "DEBUG3": 3,
}
CANONICALIZE: Final = {"no": "no", "false": "no", "yes": "yes", "true": "yes", "always": "always"}

ADDRESS_FAMILY: Final = Keyword("AddressFamily", values.choice(INET))
BATCH_MODE: Final = Keyword("BatchMode", values.flag)
BIND_ADDRESS: Final = Keyword("BindAddress", values.one)
CANONICAL_DOMAINS: Final = Keyword("CanonicalDomains", values.several)
CANONICALIZE_FALLBACK_LOCAL: Final = Keyword("CanonicalizeFallbackLocal", values.flag)
CANONICALIZE_HOSTNAME: Final = Keyword("CanonicalizeHostname", values.choice(CANONICALIZE))
CANONICALIZE_MAX_DOTS: Final = Keyword("CanonicalizeMaxDots", values.number)
CERTIFICATE_FILE: Final = Keyword("CertificateFile", values.one, adds_up=True)
CIPHERS: Final = Keyword("Ciphers", values.one)
CLEAR_ALL_FORWARDINGS: Final = Keyword("ClearAllForwardings", values.flag)
CONNECT_TIMEOUT: Final = Keyword("ConnectTimeout", values.seconds)
CONTROL_PATH: Final = Keyword("ControlPath", values.one)
DYNAMIC_FORWARD: Final = Keyword("DynamicForward", values.dynamic_forward, adds_up=True)
EXIT_ON_FORWARD_FAILURE: Final = Keyword("ExitOnForwardFailure", values.flag)
GATEWAY_PORTS: Final = Keyword("GatewayPorts", values.flag)
GLOBAL_KNOWN_HOSTS_FILE: Final = Keyword("GlobalKnownHostsFile", values.several)
HASH_KNOWN_HOSTS: Final = Keyword("HashKnownHosts", values.flag)
HOST_KEY_ALGORITHMS: Final = Keyword("HostKeyAlgorithms", values.one)
HOST_KEY_ALIAS: Final = Keyword("HostKeyAlias", values.one)
HOST_NAME: Final = Keyword("HostName", values.one)
IDENTITIES_ONLY: Final = Keyword("IdentitiesOnly", values.flag)
IDENTITY_AGENT: Final = Keyword("IdentityAgent", values.one)
IDENTITY_FILE: Final = Keyword("IdentityFile", values.one, adds_up=True)
IGNORE_UNKNOWN: Final = Keyword("IgnoreUnknown", values.one)
KEX_ALGORITHMS: Final = Keyword("KexAlgorithms", values.one)
LOCAL_FORWARD: Final = Keyword("LocalForward", values.local_forward, adds_up=True)
LOG_LEVEL: Final = Keyword(
    "LogLevel", values.choice({name.lower(): count for name, count in VERBOSITY.items()})
)
MACS: Final = Keyword("MACs", values.one)
PERMIT_REMOTE_OPEN: Final = Keyword("PermitRemoteOpen", values.permit_remote_open)
PORT: Final = Keyword("Port", values.port)
PROXY_COMMAND: Final = Keyword("ProxyCommand", values.command)
PROXY_JUMP: Final = Keyword("ProxyJump", values.jump)
PROXY_PASSWORD_FILE: Final = Keyword("ProxyPasswordFile", values.one)
PROXY_URL: Final = Keyword(proxy.KEYWORD, proxy.proxy_url)
REKEY_LIMIT: Final = Keyword("RekeyLimit", values.rekey_limit)
REMOTE_FORWARD: Final = Keyword("RemoteForward", values.remote_forward, adds_up=True)
SERVER_ALIVE_COUNT_MAX: Final = Keyword("ServerAliveCountMax", values.number)
SERVER_ALIVE_INTERVAL: Final = Keyword("ServerAliveInterval", values.seconds)
STREAM_LOCAL_BIND_MASK: Final = Keyword("StreamLocalBindMask", values.octal_mask)
STREAM_LOCAL_BIND_UNLINK: Final = Keyword("StreamLocalBindUnlink", values.flag)
STRICT_HOST_KEY_CHECKING: Final = Keyword("StrictHostKeyChecking", values.choice(CHECKING))
TAG: Final = Keyword("Tag", values.one)
TCP_KEEP_ALIVE: Final = Keyword("TCPKeepAlive", values.flag)
USER: Final = Keyword("User", values.one)
USER_KNOWN_HOSTS_FILE: Final = Keyword("UserKnownHostsFile", values.several)

# Debian's names and OpenSSH's old ones.
_ALIASES: Final = {
    "keepalive": TCP_KEEP_ALIVE,
    "identityfile2": IDENTITY_FILE,
    "protocolkeepalives": SERVER_ALIVE_INTERVAL,
    "setuptimeout": SERVER_ALIVE_INTERVAL,
}

KEYWORDS: Final[dict[str, Keyword[Any]]] = {
    keyword.name.lower(): keyword
    for keyword in list(globals().values())
    if isinstance(keyword, Keyword)
} | _ALIASES
"""What we obey, by its name in lower case."""

NOT_SERVED: Final = {
    "bindinterface": "name the interface's address with BindAddress",
    "proxyusefdpass": "the command must pass the data itself",
    "refuseconnection": "this connection is not to be made",
    "revokedhostkeys": "list these keys in known_hosts, marked @revoked",
}
"""Keywords that would change what happens, and that we cannot obey: better refused than ignored,
unless their value is `no` or `none`."""

PASSED_OVER: Final = {
    "addkeystoagent": "no key is added to ssh-agent here: ssh-add does it",
    "usekeychain": "the keychain is not asked for a passphrase here: give the key to ssh-agent, "
    "with ssh-add --apple-use-keychain",
}
"""What stands in many a file on macOS, and is accepted. Who wonders why a key is not used finds it
in the log, with -v."""

# There is no shell, no terminal, no X11, no agent forwarding, no other method of authentication,
# and no multiplexing here. OpenSSH 9.2 to 9.9, Debian's additions, and the names that OpenSSH
# itself passes over as being of former times.
_WITHOUT_MEANING: Final = """
    afstokenpassing canonicalizepermittedcnames casignaturealgorithms
    challengeresponseauthentication channeltimeout checkhostip cipher compression
    compressionlevel connectionattempts controlmaster controlpersist
    dsaauthentication enableescapecommandline enablesshkeysign escapechar fallbacktorsh
    fingerprinthash forkafterauthentication forwardagent forwardx11 forwardx11timeout
    forwardx11trusted globalknownhostsfile2 gssapiauthentication gssapiclientidentity
    gssapidelegatecredentials gssapikexalgorithms gssapikeyexchange gssapirenewalforcesrekey
    gssapiserveridentity gssapitrustdns hostbasedacceptedalgorithms hostbasedauthentication
    hostbasedkeytypes ipqos kbdinteractiveauthentication kbdinteractivedevices
    kerberosauthentication kerberostgtpassing knownhostscommand localcommand logverbose
    nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming
    passwordauthentication permitlocalcommand pkcs11provider preferredauthentications protocol
    pubkeyacceptedalgorithms pubkeyacceptedkeytypes pubkeyauthentication remotecommand
    requesttty requiredrsasize rhostsauthentication rhostsrsaauthentication rsaauthentication
    securitykeyprovider sendenv sessiontype setenv skeyauthentication smartcarddevice stdinnull
    syslogfacility tisauthentication tunnel tunneldevice updatehostkeys useprivilegedport
    userknownhostsfile2 useroaming usersh verifyhostkeydns versionaddendum visualhostkey
    warnweakcrypto xauthlocation
"""

WITHOUT_MEANING: Final = frozenset(_WITHOUT_MEANING.split())
"""Keywords of ssh that are accepted and change nothing here, in lower case."""
