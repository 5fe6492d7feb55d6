"""`parse_tcpip` and `parse_forward`: what is understood is written back as it came."""

from __future__ import annotations

from relay.errors import ProtocolViolation
from relay.wire import messages
from relay.wire.encoding import string, uint32


def one_input(data: bytes) -> None:
    try:
        host, port, origin_host, origin_port = messages.parse_tcpip(data)
    except ProtocolViolation:
        pass
    else:
        assert messages.tcpip_fields(host, port, origin_host, origin_port) == data
    try:
        address, port = messages.parse_forward(data)
    except ProtocolViolation:
        pass
    else:
        assert string(address) + uint32(port) == data
