"""The history's file: SQLite in the state folder, whose size has a bound.

    event     what happened, as relay/web/told.py says it
    rate      the bytes of one minute: of each service that moved any, and of all ('')
    refused   logins that were refused, by source and hour

Nothing here knows of an event loop: each call may wait for a disk, so that a thread makes it
(relay/web/history.py). A file that is damaged or not ours is moved aside, never read and never
removed; where there can be no file, the history is in memory, and as bounded.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from relay import system
from relay.web.told import Told

FILE_NAME: Final = "history.sqlite3"
FILE_MODE: Final = 0o600
"""It says who talks to whom."""

ASIDE: Final = ".unusable"
"""Behind the name of what was moved aside. There is one: the next takes its place, so that a disk
that damages a file at each start is not filled with them."""

APPLICATION_ID: Final = 0x52454C59
"""In the file's header: it is ours."""
SCHEMA_VERSION: Final = 1

KEPT_DAYS: Final = 7
"""For as long as somebody asks what happened."""

EVENT_ROWS: Final = 20_000
"""Five megabytes or so: what a quiet relay does in years, and a busy one in hours."""

REFUSED_ROWS: Final = 20_000
"""A port that is open to the world is tried from some thousand addresses in a week."""

PAGE_SIZE: Final = 4096
MAX_BYTES: Final = 64 << 20
"""Of the file, whatever is in it: a day of a thousand services that are never still, and the whole
week of fifty."""

FULL: Final = MAX_BYTES // PAGE_SIZE * 7 // 8
"""Pages in use, above which the oldest eighth goes: what comes in a minute still fits."""

LOG_BYTES: Final = 4 << 20
"""Of the write-ahead log beside it."""

VACUUM_PAGES: Final = 256
"""Free pages that are given back to the disk at once: a megabyte, so that no write waits long."""

LOCK_PATIENCE: Final = 0.5
"""Seconds that a call waits for another program, which has the file open."""

TURN_PATIENCE: Final = 5.0
"""Seconds that a call waits for the one before it. Else each question that is asked while a disk
stands still would leave a thread behind."""

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86400

_SCHEMA: Final = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, level TEXT NOT NULL,
    text TEXT NOT NULL, service TEXT NOT NULL, key TEXT NOT NULL, comment TEXT NOT NULL,
    peer TEXT NOT NULL
);
CREATE INDEX event_kind ON event (kind, id);
CREATE TABLE rate (
    service TEXT NOT NULL, minute INTEGER NOT NULL, there INTEGER NOT NULL, back INTEGER NOT NULL,
    streams INTEGER NOT NULL, PRIMARY KEY (service, minute)
) WITHOUT ROWID;
CREATE INDEX rate_minute ON rate (minute);
CREATE TABLE refused (
    source TEXT NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL, time REAL NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (source, hour)
) WITHOUT ROWID;
CREATE INDEX refused_hour ON refused (hour);
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one service moved in a minute."""

    service: str
    minute: int
    """Its beginning, in minutes of Unix time."""
    there: int
    """Bytes to the service."""
    back: int
    streams: int
    """Open at its end."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Logins from one source that were refused."""

    source: str
    time: float
    """Of the last, in Unix time."""
    count: int
    reason: str
    """The last one's."""


@dataclass(slots=True)
class Batch:
    """What is written at once."""

    events: list[tuple[float, Told]] = field(default_factory=list)
    """With their Unix times."""
    rates: list[Rate] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events) + len(self.rates) + len(self.refused)


class Store:
    """One file, or memory. Each method may wait for a disk, and raises sqlite3.Error."""

    def __init__(self, path: Path | None) -> None:
        """Nothing is opened before the first call. `path` None: in memory."""
        self._path = path
        # One call at a time: whoever gave up on one leaves its thread behind, within this.
        self._lock = threading.Lock()
        # Owned by who holds the lock. None: not open yet, or no more.
        self._opened: sqlite3.Connection | None = None
        # What is to be said of the file, until `problems` says it.
        self._problems: list[str] = []

    def problems(self) -> list[str]:
        """What went wrong with the file since this was asked last, a sentence each."""
        said, self._problems = self._problems, []
        return said

    def close(self) -> None:
        """Until the next call, if there is one."""
        if self._lock.acquire(timeout=TURN_PATIENCE):
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            self._lock.release()

    # -- writing

    def write(self, batch: Batch) -> None:
        """Keep all of it, or nothing."""
        with self._connection() as db:
            self._write(db, batch)

    def _write(self, db: sqlite3.Connection, batch: Batch) -> None:
        with db:
            db.executemany(
                "INSERT INTO event (time, kind, level, text, service, key, comment, peer)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (at, one.kind, one.level, one.text, one.service, one.key, one.comment, one.peer)
                    for at, one in batch.events
                ),
            )
            db.executemany(
                "INSERT INTO rate VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " there = there + excluded.there, back = back + excluded.back,"
                " streams = excluded.streams",
                (
                    (one.service, one.minute, one.there, one.back, one.streams)
                    for one in batch.rates
                ),
            )
            db.executemany(
                "INSERT INTO refused VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " count = count + excluded.count, time = excluded.time, reason = excluded.reason",
                (
                    (one.source, int(one.time // HOUR), one.count, one.time, one.reason)
                    for one in batch.refused
                ),
            )

    def trim(self, now: float) -> None:
        """Drop what is older than it may be, or more than fits; `now` is Unix time."""
        with self._connection() as db:
            oldest = now - KEPT_DAYS * DAY
            with db:
                db.execute("DELETE FROM event WHERE time < ?", (oldest,))
                db.execute(
                    "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", (EVENT_ROWS,)
                )
                db.execute("DELETE FROM rate WHERE minute < ?", (oldest // MINUTE,))
                db.execute("DELETE FROM refused WHERE hour < ?", (oldest // HOUR,))
                db.execute(
                    "DELETE FROM refused WHERE hour <= (SELECT hour FROM refused"
                    " ORDER BY hour DESC LIMIT 1 OFFSET ?)", (REFUSED_ROWS,),
                )  # fmt: skip
            if _pages_in_use(db) > FULL:
                with db:
                    _drop_an_eighth(db)
            # Each of its steps gives one page back, and execute() makes one.
            db.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")

    # -- reading

    def events(
        self, limit: int, *, kind: str = "", search: str = "", before: int | None = None
    ) -> list[dict[str, object]]:
        """The last events, the newest first: of one kind, with these characters in them, and older
        than the one with the id `before`."""
        where, values = ["id < ?"], [before if before is not None else (1 << 63) - 1]
        more: list[object] = []
        if kind:
            where.append("kind = ?")
            more.append(kind)
        if search:
            where.append("instr(lower(text || ' ' || key || ' ' || peer), lower(?))")
            more.append(search)
        query = (
            "SELECT id, time, kind, level, text, service, key, comment, peer FROM event"
            f" WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        )
        with self._connection() as db:
            return _rows(db.execute(query, (*values, *more, limit)))

    def rates(self, services: Sequence[str], since: int) -> dict[str, list[Rate]]:
        """The minutes of these services ('': all together) from the minute `since` on, oldest
        first; one in which a service was still is left out."""
        found: dict[str, list[Rate]] = {service: [] for service in services}
        query = "SELECT * FROM rate WHERE service = ? AND minute >= ? ORDER BY minute"
        with self._connection() as db:
            for service, rows in found.items():
                rows += (Rate(*row) for row in db.execute(query, (service, since)))
        return found

    def refused(self, limit: int, *, since: float = 0) -> list[dict[str, object]]:
        """Refused logins by source since that Unix time (to the hour), the most first."""
        query = (
            "SELECT source, sum(count) AS count, max(time) AS time, reason FROM refused"
            " WHERE hour >= ? GROUP BY source ORDER BY sum(count) DESC, source LIMIT ?"
        )
        with self._connection() as db:
            return _rows(db.execute(query, (since // HOUR, limit)))

    # -- the file

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The open file. One that turns out to be damaged is moved aside, for the next call."""
        if not self._lock.acquire(timeout=TURN_PATIENCE):
            raise sqlite3.OperationalError("the disk does not answer")
        try:
            if self._opened is None:
                self._opened = self._open()
            try:
                yield self._opened
            except sqlite3.OperationalError:  # The disk is full, or another program has the lock.
                raise
            except sqlite3.DatabaseError as error:
                self._opened.close()
                self._opened = None
                self._move_aside(str(error))
                raise
        finally:
            self._lock.release()

    def _open(self) -> sqlite3.Connection:
        if self._path is None:
            return _connect(":memory:")
        try:
            return self._open_file(self._path)
        except _Unusable as unusable:
            self._move_aside(str(unusable))
        except (OSError, sqlite3.Error) as error:
            return self._in_memory(error)
        try:
            return self._open_file(self._path)
        except (OSError, sqlite3.Error, _Unusable) as error:
            return self._in_memory(error)

    def _open_file(self, path: Path) -> sqlite3.Connection:
        """Raises _Unusable where there is something else."""
        if path.is_symlink() or (path.exists() and not stat.S_ISREG(path.stat().st_mode)):
            raise _Unusable("it is no plain file")
        # SQLite would make it for others to read; what it puts beside it has the same mode.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | system.OPEN, FILE_MODE)
        try:
            system.set_mode(descriptor, FILE_MODE)
        finally:
            os.close(descriptor)
        try:
            return _connect(str(path))
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise _Unusable(str(error)) from None

    def _move_aside(self, why: str) -> None:
        path = self._path
        if path is None:
            return
        aside = path.with_name(path.name + ASIDE)
        try:
            path.replace(aside)
        except OSError as error:
            self._problems.append(f"{path}: {why}; it cannot be moved aside: {error.strerror}")
            return
        for more in ("-wal", "-shm", "-journal"):  # They belong to that file alone.
            path.with_name(path.name + more).unlink(missing_ok=True)
        self._problems.append(f"{path}: {why}; moved to {aside.name}, and begun anew")

    def _in_memory(self, error: Exception) -> sqlite3.Connection:
        why = getattr(error, "strerror", None) or str(error)
        self._problems.append(f"{self._path}: {why}; until the next start it is kept in memory")
        self._path = None
        return _connect(":memory:")


class _Unusable(Exception):
    """What is there is not a history of ours."""


def _connect(name: str) -> sqlite3.Connection:
    """Raises sqlite3.Error, _Unusable."""
    # Its calls come from the threads that there are, one at a time.
    db = sqlite3.connect(name, timeout=LOCK_PATIENCE, check_same_thread=False)
    try:
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    def value(pragma: str) -> int:
        return int(db.execute(f"PRAGMA {pragma}").fetchone()[0])

    known = value("application_id"), value("user_version")
    is_new = not value("page_count")
    if not is_new and known != (APPLICATION_ID, SCHEMA_VERSION):
        raise _Unusable("it is no history of this release")
    db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    # What is written is whole after a crash; the last seconds before a power cut may be missing.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    db.execute(f"PRAGMA max_page_count = {MAX_BYTES // PAGE_SIZE}")
    if is_new:
        db.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    elif db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise _Unusable("it is damaged")


def _pages_in_use(db: sqlite3.Connection) -> int:
    count, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in
                   ("page_count", "freelist_count"))  # fmt: skip
    return int(count) - int(free)


def _drop_an_eighth(db: sqlite3.Connection) -> None:
    """Of each table, the oldest."""
    for table, column in (("event", "id"), ("rate", "minute"), ("refused", "hour")):
        first, last = db.execute(f"SELECT min({column}), max({column}) FROM {table}").fetchone()
        if first is not None:
            until = first + (last - first) // 8
            db.execute(f"DELETE FROM {table} WHERE {column} <= ?", (until,))


def _rows(cursor: sqlite3.Cursor) -> list[dict[str, object]]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
