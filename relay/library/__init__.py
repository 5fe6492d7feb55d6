"""The library: a tunnel in one's own process.

What the programs do is done here by the same parts (supervisor, gate, publisher, reconciler). The
`Link` puts them together, in an asyncio event loop (link.py); around it stands the API, for asyncio
and trio alike (tunnel.py). Between the two is the `Host`, which knows in which loop the caller is
and in which the link (host.py):

    caller      link                 between them         streams
    asyncio     the caller's loop    a call               memory
    trio        a thread's loop      a call and a wait    pairs of sockets
"""
