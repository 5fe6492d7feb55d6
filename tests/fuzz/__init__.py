"""The parsers under input that nobody would think of.

Each module in `targets` has a function `one_input(data: bytes)` that raises only for a bug. The
ordinary suite runs them over `corpus` and over bytes of hypothesis' making; a fuzzer, which sees
what each input reaches and goes on from there, is started by hand:

    pip install -e '.[test,fuzz]'
    python -m tests.fuzz socks -max_total_time=60
"""
