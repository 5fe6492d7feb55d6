"""Transports for httpx2, by which its clients reach the services of a tunnel.

    async with httpx2.AsyncClient(transport=relay.httpx2.AsyncTransport(tunnel)) as http:
        answer = await http.get("http://gpu1:8000/v1/models")

`Transport` is for `httpx2.Client` and a tunnel of `relay.sync`. Errors are httpx2's own.
"""

from __future__ import annotations

import httpcore2
import httpx2

from relay.http.transport import AsyncBodyOver, AsyncOver, Library, SyncBodyOver, SyncOver

__all__ = ["AsyncTransport", "Transport"]

_LIBRARY = Library(httpx2, httpcore2)


class _AsyncBody(AsyncBodyOver, httpx2.AsyncByteStream):
    library = _LIBRARY


class _Body(SyncBodyOver, httpx2.SyncByteStream):
    library = _LIBRARY


class AsyncTransport(AsyncOver, httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient`, on asyncio and trio."""

    library = _LIBRARY
    body = _AsyncBody


class Transport(SyncOver, httpx2.BaseTransport):
    """For `httpx2.Client`."""

    library = _LIBRARY
    body = _Body
