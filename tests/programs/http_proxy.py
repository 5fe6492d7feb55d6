"""An HTTP proxy for tests, which knows CONNECT: where names lead, who may pass, what was asked."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.programs.process import GUARD

Answer = Callable[[socket.socket], object]


class HttpProxy:
    """Listens on loopback; each connection has a thread of its own."""

    def __init__(
        self,
        names: Mapping[str, int] | None = None,
        *,
        login: str = "",
        answer: Answer | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            names: the port of this machine for each `host:port`; without it, what is asked for.
            login: `user:password` that it wants.
            answer: what it does in place of all that, once it was asked.
            context: it speaks TLS.
        """
        self.asked: list[str] = []
        self.heads: list[str] = []
        self._names, self._login, self._answer = names, login, answer
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # (close() alone does not wake who waits in accept().)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(GUARD)
        try:
            with client:
                if self._context is None:
                    self._talk(client)
                    return
                with self._context.wrap_socket(client, server_side=True) as inside:
                    self._talk(inside)
        except OSError:
            pass  # It is gone.

    def _talk(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = client.recv(1)
            if not part:
                return
            head += part
        text = head.decode()
        self.heads.append(text)
        target = text.split()[1]
        self.asked.append(target)
        if self._answer is not None:
            self._answer(client)
            return
        token = base64.b64encode(self._login.encode()).decode()
        if self._login and f"\r\nProxy-Authorization: Basic {token}\r\n" not in text:
            challenge = 'Proxy-Authenticate: Basic realm="x"\r\n'
            client.sendall(f"HTTP/1.1 407 Who are you?\r\n{challenge}\r\n".encode())
            return
        port = int(target.rpartition(":")[2]) if self._names is None else self._names.get(target)
        if port is None:
            client.sendall(b"HTTP/1.1 502 Where is that?\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port), timeout=GUARD) as far:
            # The server's first bytes come right behind the header, in the same segment.
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n" + far.recv(65536))
            pass_on(client, far)


def says(*parts: bytes, stays: bool = False) -> Callable[[socket.socket], None]:
    """Says so much, and goes or stays."""

    def answer(client: socket.socket) -> None:
        for part in parts:
            client.sendall(part)
        if stays:
            client.recv(1)

    return answer


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """What comes on each goes to the other, until one has ended."""
    ways = {one: other, other: one}
    while True:
        # What TLS has read ahead is no longer in the socket.
        ready = [sock for sock in ways if isinstance(sock, ssl.SSLSocket) and sock.pending()]
        for sock in ready or select.select(list(ways), [], [])[0]:
            data = sock.recv(65536)
            if not data:
                return
            ways[sock].sendall(data)


def certificate(folder: Path, *addresses: str) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS, and the file of the certificate that a client has to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proxy")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(one)) for one in addresses]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "proxy.crt", folder / "proxy.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return context, chain
