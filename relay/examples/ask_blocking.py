"""Ask a model server behind a relay, with a socket, in a program that blocks."""

import sys

import relay.sync

REQUEST = b"GET /v1/models HTTP/1.0\r\nHost: model\r\n\r\n"


def main(destination: str, service: str, config: str | None = None) -> None:
    with (
        relay.sync.connect(destination, config=config) as tunnel,
        tunnel.open_socket(service) as sock,
    ):
        sock.sendall(REQUEST)
        while data := sock.recv(65536):
            print(data.decode(), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
