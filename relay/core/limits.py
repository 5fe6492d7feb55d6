"""The limits of the relay and the reason for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * 1024

RECEIVE_BUFFER: Final = 512 * KIB
"""One receive from a leg. Measured: below 256 KiB the cost of the system call shows, above
1 MiB the data has left the processor's cache before it is sealed."""

SCRATCH: Final = 512 * KIB
"""What an endpoint reads from its socket before it is another one's turn."""

RELEASE_BELOW: Final = 256 * KIB
"""Bytes that wait for a leg above which nobody is told of more window to it: they leave first."""

WAITING_PER_LEG: Final = 64 * MIB
"""Bytes that may wait for one leg; the streams of what comes for it beyond that are broken. Windows
are held back long before (`RELEASE_BELOW`), so that this much can only be what was under way to
some hundred streams when a leg stopped reading. To read no further from the legs that feed it would
stop everybody on those: one consumer that reads little would stop all the others of an agent."""

STALL_TIMEOUT: Final = 10.0
"""Seconds in which a full leg that others wait for must take `STALL_BYTES`, or it is closed: one
that has stopped reading must not stop those that go on."""

STALL_BYTES: Final = 64 * KIB
"""What a link of 50 kbit/s takes in ten seconds."""

WAITING_PER_PROCESS: Final = 256 * MIB
"""The same for all legs together: what a small machine can spare."""

ANSWERS_PER_LEG: Final = 512 * KIB
"""Sealed bytes that a leg's socket has not taken, before that leg itself is read no further: it
asks faster than it listens. Well below `OUTPUT_PER_LEG`: with what it asks for alone, a peer must
not get there, where others begin to wait for it."""

OUTPUT_PER_LEG: Final = 2 * MIB
"""The same before the legs that cause them are read no further. Opens, ends and windows of four
thousand streams are less."""

ANSWERS_DEFERRED: Final = 8192
"""Answers to a leg's own requests that may wait for its key exchange, before it is closed: an
honest peer asks for nothing between its KEXINIT and its NEWKEYS (RFC 4253 §7.1), and before it has
heard of ours it cannot have asked for more than all its streams, twice."""

DEFERRED_PER_LEG: Final = 32768
"""Messages that may wait for a leg's key exchange before the legs that cause them are read no
further. Four of each of four thousand streams and `ANSWERS_DEFERRED` are less: one that begins a
key exchange and does not end it stops nobody by that."""

FLUSH_SIZE: Final = 100 * KIB
"""Sealed bytes that are gathered before they are sent. A packet of our own endpoints, 120 KiB, so
leaves at once, and the next machine opens it while this one seals another; of stock ssh's, 32 KiB,
four leave in one send. Measured against 512 KiB, where four of ours did: a tenth more throughput
under BBR, the same under cubic."""

FLUSH_PACKETS: Final = 8
"""The same in packets. Small ones that were ready at once share a send, but whoever gets them
should not be idle until the last of fifty is sealed. Measured on 50 streams of small requests:
without this 24,000 in a second and a quarter of the processor idle, with 4 to 10 packets 29,000 and
hardly any, with 16 27,000."""

PACKETS_PER_TURN: Final = 256
"""Packets of one leg that are used before it is the others' turn: a receive of 512 KiB holds 14,000
of the smallest. Bulk comes in 16 packets a receive, small requests of fifty streams in fifty."""

FED_PACKET: Final = 7
"""What a packet that asyncssh handles counts: 27 to 40 us, beside 5 for one that it never sees."""

FED_AT_ONCE: Final = 4 * KIB
"""Bytes that asyncssh is given at once where it opens packets itself: some hundred of the smallest.
A packet of 32 KiB is given to it in eight pieces, which does not show beside its ciphers."""

BUSY_POLL: Final = 200
"""Microseconds that a program polls its sockets before it sleeps, at most. KVM's own for the guests
that it halts; on a LAN the answer is there by then."""

LONGEST_BUSY_POLL: Final = 1000
"""Microseconds: beyond that to sleep and to be woken is a small part of the wait."""

NESTED_WINDOW: Final = 16 * MIB
"""The window of a channel that carries a session: what comes there is used at once, so it only has
to be wider than what the streams inside may have under way."""

RETAINED_PER_SESSION: Final = 2 * NESTED_WINDOW
"""What a resumable session keeps of what it has sent, until it hears that it has come. A whole
window is under way on a long fat link, and is told of a quarter of this late: so this is never the
narrower of the two."""

RETAINED_PER_PROCESS: Final = 256 * MIB
"""The same for all sessions together, as for what waits. Beyond it each has its share."""

RETAINED_AT_LEAST: Final = 512 * KIB
"""The least share: some packets of 120 KiB, so that a session goes on, if slowly."""

RETAINED_RESERVE: Final = 4 * MIB
"""What a session may keep on top of that, of what cannot wait: acknowledgements, key exchanges,
opens, ends and windows of four thousand streams (`OUTPUT_PER_LEG`). Who makes us answer more than
that, and acknowledges nothing, loses its session."""

ACKNOWLEDGED_AFTER: Final = 4
"""The other side hears what has come after this part of what it can keep."""

LEAST_ACKNOWLEDGED: Final = 16 * KIB
"""Bytes, whatever it says that it can keep."""

ACKNOWLEDGED_WITHIN: Final = 1.0
"""Seconds after which it hears of less."""

HELD_PER_KEY: Final = 16
"""Sessions without a carrier that one key may have at an agent: a laptop has one for each
relay-connect. The longest held gives way to the next."""

HELD_SESSIONS: Final = 256
"""The same for all keys together. The longest held of the key that has most gives way."""

ATTACH_TIMEOUT: Final = 15.0
"""Seconds for the answer to an attach. It is one round trip."""

RESUME_FOR: Final = 600.0
"""Seconds for which a session without a carrier is kept: a tunnel of the railway, a new B."""

LONGEST_RESUME_FOR: Final = 7 * 24 * 3600.0
"""Seconds: it is kept in memory, with a descriptor for each of its streams."""

LOCAL_BACKLOG: Final = 4096
"""Connections that may wait to be accepted on a listening socket; what the system permits by
default. Where there is no place, a newcomer's SYN is dropped and sent again a second later: a flood
must be accepted, and closed, more quickly than that."""

CLIENT_ALIVE_INTERVAL: Final = 15
"""Seconds of silence after which a client is asked whether it is there. Most NATs forget a
connection after minutes, the worst after 30 s."""

CLIENT_ALIVE_COUNT_MAX: Final = 3
"""Questions without an answer after which the client is given up: a minute of silence, with which
a link that changes its route, and a laptop between two access points, come back."""

LOGIN_GRACE_TIME: Final = 30
"""Seconds to authenticate. sshd gives 120 for a person who types a password; here a key answers."""

MAX_AUTH_TRIES: Final = 6
"""Failed authentication requests on one connection, as sshd's MaxAuthTries. An ssh-agent with
more keys than that needs `-i`."""

PACKETS_BEFORE_LOGIN: Final = 300
"""What one connection may send until it has logged in. With six keys of an ssh-agent, each asked
about and one signed with, a client needs twenty; one that hides its packets among IGNOREs three
times as many. An operator who allows more tries allows as many times more packets and bytes."""

BYTES_BEFORE_LOGIN: Final = 64 * KIB
"""The same in bytes: 6 KiB for a post-quantum key exchange, and 4 KiB for each of a dozen requests
with a certificate of many principals."""

PACKETS_BEFORE_OUR_LOGIN: Final = 2000
BYTES_BEFORE_OUR_LOGIN: Final = 1 * MIB
"""What a server may send until it has let us in. It greets with what its lawyers wrote, as a banner
or as up to 1,024 lines before its version (asyncssh's bound); all that is thrown away."""

KEXES_AT_ONCE: Final = 16
KEX_BYTES: Final = 96 * KIB
KEX_SECONDS: Final = 1.0
"""Key exchanges that a peer may begin after the login: so many at once, and one more for so many
bytes in either direction or for so many seconds. OpenSSH 9.2 that is told `RekeyLimit 1M` begins
one after each 121 KiB of an upload, for minutes (measured); one of `RekeyLimit default 1s` needs
one a second, and a person with `~R` fewer. Each is a turn of the event loop of its own."""

# -- what B's operator may change: `Limits` in relay/settings/server.py

MAX_STARTUPS: Final = (10, 30, 100)
"""Connections that have not logged in: sshd's MaxStartups, begin:rate:full. A login takes
milliseconds here, so that ten at once are a busy moment already, and a hundred an attack. Who is
refused when is told in `life/startups.py`."""

PER_SOURCE_MAX_STARTUPS: Final = 20
"""Those of one source: sshd's PerSourceMaxStartups, which has no limit by default. An office whose
agents all come back at once logs in ten in a tenth of a second, and the next ten have their turn in
the second after that; no address needs more, and five that hold theirs are needed to fill B."""

NET_BLOCK_SIZE: Final = (32, 64)
"""Bits of an IPv4 and of an IPv6 address that make a source: sshd's PerSourceNetBlockSize. sshd has
128 for IPv6, but a /64 is the least that one customer has, with more addresses than anybody can
count."""

ATTEMPTS_AT_ONCE: Final = 10
ATTEMPTS_PER_SECOND: Final = 10
"""Connections from one source that do not lead to a login: at once, and then in a second. More
have to wait. Each makes us compute a key exchange, and costs a stranger next to nothing (DHEat,
CVE-2002-20001); ssh-audit calls fewer than 20 in a second safe."""

MAX_FAILED_TRIES: Final = 20
"""Refused keys that a source may show before it has to wait. An ssh-agent shows up to six at each
connection, and several people may share an address."""

FIRST_DELAY: Final = 1.0
"""Seconds that a source has to wait after one try too many; each one more doubles it."""

MAX_DELAY: Final = 300.0
"""The longest delay: a guess each five minutes is no attack, and an owner who mended his key is let
in after a coffee."""

FORGIVEN_AFTER: Final = 10.0
"""Seconds after which a source is forgiven one refused key: an agent whose key is not entered yet
tries for days, each minute at most, with the six keys of an ssh-agent, and must be let in as soon
as it is.
(PerSourcePenalties of sshd forgive an authfail in 5 s.)"""

FAILED_SOURCES: Final = 4096
"""Sources whose failures are remembered: 1 MiB at most. Who has more addresses than that cannot be
kept out by counting."""

STRANGER_LINES: Final = 20
"""Lines in the log that one source may cause in a minute by connections that do not log in; then
they are counted. It is three tries with all keys of an ssh-agent, each refusal with its reason."""

STRANGERS_LINES: Final = 100
"""The same for all sources together: those of a botnet try once each."""

STRANGER_SOURCES: Final = 20
"""Sources that are named with a count each minute. What comes from more is counted together."""

LEGS_PER_KEY: Final = 64
"""A fleet that shares a key is smaller; whoever reconnects without end is stopped here."""

SERVICES_PER_KEY: Final = 256
"""Each real port costs two descriptors of B, and 1,024 is what many systems give a process."""

CHANNELS_PER_LEG: Final = 4096
"""Streams at once. Measured: one costs B 2 KiB, so this many cost 8 MiB."""

ANSWER_TIMEOUT: Final = 180.0
"""Seconds that an agent may take to answer the open of a stream. It dials its service first: the
kernel knocks for 127 s before it gives up, and a resolver may take half a minute before that."""

UNANSWERED_PER_LEG: Final = 64
"""Opens that an agent has not answered in `ANSWER_TIMEOUT`, nor since, before its leg is closed.
Each keeps a channel of the leg for ever; an agent that is sound has none, whatever its service
does."""

OPENERS_PER_AGENT: Final = 4
"""Connections with so many streams that one agent serves: a stranger that opens all it may must not
keep the others out."""

LEGS_PER_OPENER: Final = 2
"""Of these, how many one key may fill, on however many connections: half is left for others."""

LOOK_INTERVAL: Final = 1.0
"""Seconds between two looks at authorized_keys. Who is in is judged by a file that two looks found
the same, so that a key that is deleted loses its legs within two seconds, and a file that is just
being written throws nobody out. A look is one system call."""

PROXY_ANSWER: Final = 16 * KIB
"""Bytes that an HTTP proxy may say before the connection is open. Answers have some hundred; those
with a page of reasons are judged by the header before it."""

JUDGED_AT_ONCE: Final = 32
"""Legs that are judged by a new authorized_keys in one turn of the loop."""


@dataclass(frozen=True, slots=True)
class Startups:
    """MaxStartups of sshd_config(5): from `begin` connections on that have not logged in, a new
    one is refused with a chance of `rate` percent, which grows to 100 at `full`; but only one from
    the source that has most of them (`life/startups.py`)."""

    begin: int = MAX_STARTUPS[0]
    rate: int = MAX_STARTUPS[1]
    full: int = MAX_STARTUPS[2]

    def refuses(self, waiting: int, chance: float) -> bool:
        """Whether to refuse one more while `waiting` others are there; `chance` is random, from 0
        up to 1."""
        if waiting < self.begin:
            return False
        if waiting >= self.full:
            return True
        grown = (100 - self.rate) * (waiting - self.begin) / (self.full - self.begin)
        return chance * 100 < self.rate + grown

    def __str__(self) -> str:
        return f"{self.begin}:{self.rate}:{self.full}"


@dataclass(frozen=True, slots=True)
class NetBlockSize:
    """PerSourceNetBlockSize of sshd_config(5)."""

    ipv4: int = NET_BLOCK_SIZE[0]
    ipv6: int = NET_BLOCK_SIZE[1]

    def __str__(self) -> str:
        return f"{self.ipv4}:{self.ipv6}"
