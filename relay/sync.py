"""The library for programs that block: the names of `relay`, and `open_socket`.

    import relay

    with relay.sync.connect("user@b", identity="client_key") as tunnel:
        sock = tunnel.open_socket("gpu1:8000")     # a socket, for whatever wants one
        with tunnel.open("gpu1:8000") as stream:   # or a stream
            stream.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
            answer = stream.receive()

The connection is kept up by one thread, which all tunnels of the process share.
"""

from relay.library.blocking import Listener, Stream, Tunnel, connect
from relay.library.tunnel import PortForward, Service

__all__ = ["Listener", "PortForward", "Service", "Stream", "Tunnel", "connect"]
