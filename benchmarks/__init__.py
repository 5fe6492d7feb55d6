"""How fast the relay is, side by side with what one would use instead.

    python -m benchmarks                      every part, one table
    python -m benchmarks latency              one part, with its spread
    python -m benchmarks --quick              less of everything, in under two minutes
    python -m benchmarks --end-to-end         sessions from A to C through B (`-J`)
    python -m benchmarks compare OLD NEW      two result files, row by row

The parts: `throughput`, `latency`, `requests`, `streams`, `fairness`, `long-links`, `idle`, `legs`.
Each file in `parts/` begins with what its part measures and why.

What makes the figures comparable:

* Every chain A→B→C is made of real processes, one or more for each of A, B and C, on loopback.
  The service behind C is a process of its own too. The load at A is made by this process, which
  does nothing else meanwhile.
* All chains of a part are started before the first round and stay up, idle, until the last; only
  one carries a load at any time. The rounds are interleaved (each round visits every chain once,
  and begins with another one than the round before), so that a slow minute of the machine hits all
  chains alike. Figures are medians over the rounds. (Memory is no matter of luck: `idle` and `legs`
  visit each chain once.)
* The peers are at their best, their fastest cipher and no compression: see `chains/` for what each
  was given and why. The default cipher is shown too, except with `--quick`.
* A bar is a goal of ours and not a test: nothing fails because a figure is low.
* Nothing of the user's takes part: keys, known hosts and configuration are thrown away after.

The way through the code: `__main__` (command line) → `parts/` (what is measured) → `chains/`
(what it is measured on) → `processes`, with `load` and `crowd` at A and `service` at C; `peers/`
has the programs that are neither ours nor installed; `report` and `table` hold and show the
results. A new part is one file in `parts/` and a line in `parts/__init__.py`; a new chain is one
file in `chains/` and a line in `chains/__init__.py`.
"""
