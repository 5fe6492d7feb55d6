"""Transports for httpx, by which its clients reach the services of a tunnel.

    async with httpx.AsyncClient(transport=relay.httpx.AsyncTransport(tunnel)) as http:
        answer = await http.get("http://gpu1:8000/v1/models")

`Transport` is for `httpx.Client` and a tunnel of `relay.sync`. Errors are httpx's own.
"""

from __future__ import annotations

import httpcore
import httpx

from relay.http.transport import AsyncBodyOver, AsyncOver, Library, SyncBodyOver, SyncOver

__all__ = ["AsyncTransport", "Transport"]

_LIBRARY = Library(httpx, httpcore)


class _AsyncBody(AsyncBodyOver, httpx.AsyncByteStream):
    library = _LIBRARY


class _Body(SyncBodyOver, httpx.SyncByteStream):
    library = _LIBRARY


class AsyncTransport(AsyncOver, httpx.AsyncBaseTransport):
    """For `httpx.AsyncClient`, on asyncio and trio."""

    library = _LIBRARY
    body = _AsyncBody


class Transport(SyncOver, httpx.BaseTransport):
    """For `httpx.Client`."""

    library = _LIBRARY
    body = _Body
