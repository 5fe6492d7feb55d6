"""What a part gets from the command line: its settings, and chains that stand."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import load
from benchmarks.chains import CHAINS, END_TO_END, LEFT_OUT_IF_QUICK, Builder, Chain, Lineup, Site
from benchmarks.errors import BrokenError, MissingProgramError, StartError
from benchmarks.processes import Process, python


@dataclass(frozen=True)
class Settings:
    """What the command line asked for; what it means is up to the part."""

    rounds: int
    size_mib: int
    quick: bool = False
    only: tuple[str, ...] = ()
    """Names of the chains to measure; empty: all."""
    end_to_end: bool = False
    """Measure the chains with sessions end to end instead."""
    against: Path | None = None
    """Another checkout, whose relay is measured beside ours."""

    @property
    def lineup(self) -> Lineup:
        """The chains for a part that does not need chains of its own."""
        lineup = END_TO_END if self.end_to_end else CHAINS
        return lineup if self.against is None else lineup.against(self.against)

    def takes(self, name: str) -> bool:
        """Is this chain to be measured?"""
        if self.only:
            return name in self.only
        return not (self.quick and name in LEFT_OUT_IF_QUICK)


@dataclass
class Standing:
    """The chains that could be started, and one line for each that could not."""

    chains: dict[str, Chain] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def using(self, name: str) -> Iterator[Chain]:
        """One chain for one measurement; what breaks it meanwhile is reported with its name."""
        chain = self.chains[name]
        try:
            yield chain
        except (OSError, BrokenError) as error:
            stalled = isinstance(error, BlockingIOError)  # the kernel's word for its time limit
            why = f"nothing moved for {load.STALL_SECONDS} s" if stalled else error
            said = [
                f"\n  {place} said last: {at.last_line()}"
                for place, at in chain.processes().items()
            ]
            raise BrokenError(f"{name} broke under load: {why}{''.join(said)}") from error


@dataclass
class Context:
    """Handed to each part in turn."""

    settings: Settings
    versions: dict[str, str] = field(default_factory=dict)
    """Of everything that took part so far."""
    failed: bool = False
    """Whether a chain that is installed did not start."""

    def say(self, text: str) -> None:
        """Progress for a person; the results go elsewhere."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def chains(self, builders: Mapping[str, Builder], delay: float = 0.0) -> Iterator[Standing]:
        """Start the service and these chains, with a way of so many seconds on each leg; at the
        end nothing is left of them."""
        standing = Standing()
        with ExitStack() as cleanup:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="relay-bench-")))
            service = Process("service", python("benchmarks.service"), folder)
            cleanup.callback(service.stop)
            port = int(service.wait_for(r"^serving on .*:(\d+)$")[1])
            for name, build in builders.items():
                if not self.settings.takes(name):
                    continue
                self.say(f"starting {name}")
                home = folder / str(len(list(folder.iterdir())))
                home.mkdir()
                self._start(name, build, Site(home, port, cleanup, delay), standing)
            yield standing

    def _start(self, name: str, build: Builder, site: Site, standing: Standing) -> None:
        try:
            chain = build(site)
            chain.wait_until_ready()
        except MissingProgramError as error:
            standing.notes.append(f"{name} is left out: {error}")
        except StartError as error:
            standing.notes.append(f"{name} is left out, it did not start: {error}")
            self.failed = True
        else:
            standing.chains[name] = chain
            self.versions.update(chain.versions)
