"""How fast the relay is, side by side with what one would use instead.

    python -m benchmarks                      every part, one table
    python -m benchmarks throughput           one part
    python -m benchmarks throughput --quick   a shorter run of it
    python -m benchmarks throughput --end-to-end    sessions from A to C through B (`-J`)
    python -m benchmarks compare OLD NEW      two result files, row by row

What makes the figures comparable:

* Every chain A→B→C is made of real processes, one or more for each of A, B and C, on loopback.
  The service behind C is a process of its own too. The load at A is made by this process, which
  does nothing else meanwhile.
* All chains are started before the first round and stay up, idle, until the last; only one
  carries a load at any time. The rounds are interleaved (each round visits every chain once, and
  begins with another one than the round before), so that a slow minute of the machine hits all
  chains alike. Figures are medians over the rounds.
* The peers are at their best: see `chains/` for what each was given and why.
* Nothing of the user's takes part: keys, known hosts and configuration are thrown away after.

The way through the code: `__main__` (command line) → `parts/` (what is measured) → `chains/`
(what it is measured on) → `processes`, with `load` at A and `service` at C; `report` and `table`
hold and show the results. A new part is one file in `parts/` and a line in `parts/__init__.py`;
a new chain is one file in `chains/` and a line in `chains/__init__.py`.
"""
