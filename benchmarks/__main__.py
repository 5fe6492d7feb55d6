"""The command line: `python -m benchmarks [PART]` and `python -m benchmarks compare OLD NEW`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from benchmarks import machine, table
from benchmarks.chains import AGAINST, CHAINS, END_TO_END
from benchmarks.context import Context, Settings
from benchmarks.errors import BenchmarkError
from benchmarks.parts import CHAINS_OF_THEIR_OWN, PARTS
from benchmarks.report import Report

RESULTS = Path(__file__).parent / "results"

ROUNDS, SIZE_MIB = 5, 1024
QUICK_ROUNDS, QUICK_SIZE_MIB = 3, 256


def main(arguments: Sequence[str]) -> int:
    """Run or compare; returns the exit code: 1 if a chain that is installed did not start."""
    if arguments and arguments[0] == "compare":
        return compare(arguments[1:])
    return run(arguments)


def run(arguments: Sequence[str]) -> int:
    """Measure, print the table, keep the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the relay against its peers. Without PART: everything.",
        epilog="python -m benchmarks compare OLD.json NEW.json shows two runs row by row.",
    )
    parser.add_argument("part", nargs="?", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    rounds = f"default {ROUNDS}, or {QUICK_ROUNDS} with --quick"
    parser.add_argument("--rounds", type=_positive, metavar="N", help=rounds)
    size = f"of a stream at full speed; default {SIZE_MIB}, or {QUICK_SIZE_MIB} with --quick"
    parser.add_argument("--size", type=_positive, metavar="MIB", help=size)
    quick = "fewer rounds, less of everything and only the chains that count: to see the direction"
    parser.add_argument("--quick", action="store_true", help=quick)
    names = [*{**CHAINS.chains, **END_TO_END.chains}, AGAINST]
    chains = "only this chain (repeatable): " + ", ".join(names)
    parser.add_argument("--chain", action="append", choices=names, metavar="NAME", help=chains)
    within = "sessions from A to C, of which B sees only ciphertext, against `ssh -J`"
    parser.add_argument("--end-to-end", action="store_true", help=within)
    other = "another checkout: its relay is measured beside ours, with the same libraries"
    parser.add_argument("--against", type=Path, metavar="DIR", help=other)
    where = "where the results go; default benchmarks/results/PART-DATE.json"
    parser.add_argument("--json", type=Path, metavar="FILE", help=where)
    options = parser.parse_args(arguments)
    if options.end_to_end and options.part in CHAINS_OF_THEIR_OWN:
        parser.error(f"{options.part} is not measured end to end")
    if options.against and not (options.against / "relay" / "cli").is_dir():
        parser.error(f"{options.against} is no checkout of the relay")
    if options.against and options.end_to_end:
        parser.error("--against is for the chains that are not end to end")

    settings = Settings(
        rounds=options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS),
        size_mib=options.size or (QUICK_SIZE_MIB if options.quick else SIZE_MIB),
        quick=options.quick,
        only=tuple(options.chain or ()),
        end_to_end=options.end_to_end,
        against=options.against,
    )
    context, bystanders, now = Context(settings), machine.Bystanders(), datetime.now().astimezone()
    left_out = CHAINS_OF_THEIR_OWN if settings.end_to_end else ()
    parts = [options.part] if options.part else [part for part in PARTS if part not in left_out]
    results = [PARTS[part](context) for part in parts]
    report = Report(
        date=now.isoformat(timespec="seconds"),
        machine=machine.describe() | bystanders.describe(),
        versions=machine.python_version() | context.versions,
        results=results,
    )

    name = f"{options.part or 'all'}-{now:%Y-%m-%dT%H-%M-%S}.json"
    path = options.json or RESULTS / name
    report.write(path)
    print(table.show(report, details=options.part is not None))
    context.say(f"\nall samples: {path}")
    return 1 if context.failed else 0


def compare(arguments: Sequence[str]) -> int:
    """Print two result files row by row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare")
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    options = parser.parse_args(arguments)
    print(table.compare(Report.read(options.old), Report.read(options.new)))
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


if __name__ == "__main__":
    # An operator's kill must clean up as Ctrl-C does: a dozen processes are running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except (OSError, ValueError, BenchmarkError) as error:
        sys.exit(f"benchmarks: {error}")
