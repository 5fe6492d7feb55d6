"""Small programs on the library. Those that ask take the file of ssh_config(5) to read as one more
argument, where that is not ~/.ssh/config:

    python -m relay.examples.ask_asyncio user@b gpu1:8000     asks a model server, on asyncio
    python -m relay.examples.ask_trio user@b gpu1:8000        the same, on trio
    python -m relay.examples.ask_blocking user@b gpu1:8000    the same, blocking
    python -m relay.examples.pool user@b gpu:8000 FILE KEY…   workers behind one name
    python -m relay.examples.embedded                         server, service and client in one
"""
