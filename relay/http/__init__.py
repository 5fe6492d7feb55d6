"""HTTP by a tunnel, for whoever has httpx2, httpx or an ASGI server."""
