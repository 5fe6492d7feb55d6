"""The history's file: what is in it, how large it gets, and what becomes of one that is no good."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from relay.web import store as module
from relay.web.store import ASIDE, DAY, FILE_NAME, MINUTE, Batch, Rate, Refused, Store
from relay.web.told import PUBLISHED, SERVER, Told

NOW = 1_800_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def some(count: int, kind: str = SERVER, text: str = "event") -> Batch:
    return Batch(events=[(NOW + n, Told(kind, "info", f"{text} {n}")) for n in range(count)])


def texts(store: Store, limit: int = 100, **which: object) -> list[object]:
    return [row["text"] for row in store.events(limit, **which)]  # type: ignore[arg-type]


def test_what_is_written_is_there_after_a_restart(path: Path) -> None:
    batch = some(3)
    batch.rates = [Rate("gpu1:8000", 7, 10, 20, 1), Rate("gpu1:8000", 8, 1, 2, 0)]
    batch.refused = [Refused("192.0.2.1", NOW, 5, "unknown key")]
    first = Store(path)
    first.write(batch)
    first.close()
    again = Store(path)
    assert texts(again) == ["event 2", "event 1", "event 0"]
    assert again.rates(["gpu1:8000", "other:1"], 8) == {
        "gpu1:8000": [Rate("gpu1:8000", 8, 1, 2, 0)], "other:1": [],
    }  # fmt: skip
    assert again.refused(10) == [
        {"source": "192.0.2.1", "count": 5, "time": NOW, "reason": "unknown key"}
    ]
    assert again.problems() == []


def test_events_are_found_by_kind_words_and_page(path: Path) -> None:
    store = Store(path)
    store.write(some(5))
    store.write(Batch(events=[(NOW, Told(PUBLISHED, "info", "100% of_it", "gpu1:8000"))]))
    assert texts(store, kind=PUBLISHED) == texts(store, search="100% OF_") == ["100% of_it"]
    assert texts(store, search="%%") == []
    page = store.events(2, kind=SERVER)
    assert [row["text"] for row in page] == ["event 4", "event 3"]
    assert texts(store, 2, kind=SERVER, before=page[-1]["id"]) == ["event 2", "event 1"]
    assert texts(store, search="'; DROP TABLE event; --") == []
    assert len(texts(store)) == 6


def test_refused_logins_are_added_up_by_source(path: Path) -> None:
    store = Store(path)
    for hour, reason in enumerate(("first", "second", "third")):
        at = NOW + hour * 3600
        store.write(Batch(refused=[Refused("here", at, 2, reason), Refused("there", at, 1, "x")]))
    assert store.refused(1) == [
        {"source": "here", "count": 6, "time": NOW + 7200, "reason": "third"}
    ]
    assert [row["count"] for row in store.refused(9, since=NOW + 7200)] == [2, 1]


def test_others_may_not_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(path)
        store.write(some(1))
        for one in path.parent.iterdir():
            assert stat.S_IMODE(one.stat().st_mode) == 0o600, one
        store.close()
        path.chmod(0o644)
        Store(path).write(some(1))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_what_is_old_goes(path: Path) -> None:
    store = Store(path)
    now = NOW + module.KEPT_DAYS * DAY
    for at in (NOW - 1, NOW + DAY):
        store.write(
            Batch(
                [(at, Told(SERVER, "info", str(at)))],
                [Rate("a:1", int(at // MINUTE), 1, 1, 0)],
                [Refused("here", at, 1, "")],
            )
        )
    store.trim(now + 3600)
    assert texts(store) == [str(NOW + DAY)]
    assert len(store.rates(["a:1"], 0)["a:1"]) == len(store.refused(9)) == 1


def test_rows_have_a_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENT_ROWS", 10)
    monkeypatch.setattr(module, "REFUSED_ROWS", 10)
    store = Store(path)
    store.write(some(100))
    for hour in range(30):
        store.write(Batch(refused=[Refused("here", NOW + 3600 * hour, 1, "")]))
    store.trim(NOW)
    assert texts(store) == [f"event {n}" for n in range(99, 89, -1)]
    assert store.refused(9)[0]["count"] == 10


def size(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.iterdir())


def test_bytes_have_a_bound_and_the_newest_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(module, "FULL", (1 << 20) // 4096 * 7 // 8)
    monkeypatch.setattr(module, "LOG_BYTES", 1 << 18)
    store = Store(path)
    minute = int(NOW // MINUTE)
    for later in range(100):
        store.write(
            Batch(rates=[Rate(f"service{n}:80", minute + later, 1, 1, 1) for n in range(500)])
        )
        store.trim(NOW)
    assert path.stat().st_size <= 1 << 20
    assert size(path) <= 6 << 20  # SQLite writes its log back every 1,000 pages.
    assert store.rates(["service7:80"], minute)["service7:80"][-1].minute == minute + 99


def test_a_full_file_refuses_a_batch_as_a_whole_and_takes_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 17)
    store = Store(path)
    store.write(some(1, text="kept"))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        store.write(some(2000, text="x" * 200))
    assert texts(store) == ["kept 0"]
    store.write(some(1, text="later"))
    assert texts(store) == ["later 0", "kept 0"]


def test_room_is_given_back(path: Path) -> None:
    store = Store(path)
    store.write(some(10_000, text="x" * 200))
    store.close()
    before = path.stat().st_size
    store.trim(NOW + 100 * DAY)
    store.close()
    assert path.stat().st_size <= before - 2**20


NO_HISTORY = {
    "nonsense": b"This is somebody's text.\n" * 1000,
    "cut": b"SQLite format 3\0" + bytes(50),
    "header only": b"SQLite format 3\0" + bytes(8192),
}


@pytest.mark.parametrize("data", NO_HISTORY.values(), ids=NO_HISTORY)
def test_what_is_no_history_is_moved_aside(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    store = Store(path)
    store.write(some(1))
    assert texts(store) == ["event 0"]
    assert path.with_name(FILE_NAME + ASIDE).read_bytes() == data
    (problem,) = store.problems()
    assert "moved to history.sqlite3.unusable" in problem


@pytest.mark.parametrize("pragma", ["application_id", "user_version"])
def test_so_is_somebody_elses_database(path: Path, pragma: str) -> None:
    ours = Store(path)
    ours.write(some(1))
    ours.close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA {pragma} = 77")
    db.close()
    store = Store(path)
    assert texts(store) == []
    assert "no history of this release" in store.problems()[0]
    with sqlite3.connect(path.with_name(FILE_NAME + ASIDE)) as db:
        assert db.execute("SELECT text FROM event").fetchall() == [("event 0",)]
    db.close()


def test_a_damaged_one_is_moved_aside_at_the_start_and_while_it_is_used(path: Path) -> None:
    store = Store(path)
    store.write(some(2000, text="x" * 200))
    store.close()
    sound = path.read_bytes()
    damaged = sound[: 1 << 14] + b"\xff" * (len(sound) - (1 << 14))
    path.write_bytes(damaged)
    store = Store(path)
    assert texts(store) == []
    assert "moved to" in store.problems()[0]
    store.close()
    path.write_bytes(sound)
    store = Store(path)
    assert len(texts(store, 5)) == 5
    path.write_bytes(damaged)  # Under its feet, and nothing of it is in memory.
    assert store._opened is not None
    store._opened.execute("PRAGMA shrink_memory")
    with pytest.raises(sqlite3.DatabaseError):
        texts(store, 5000)
    assert texts(store) == []
    store.write(some(1))
    assert texts(store) == ["event 0"]


def test_what_is_no_plain_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    path.symlink_to(target)
    store = Store(path)
    store.write(some(1))
    assert target.read_text() == "precious"
    assert stat.S_IMODE(target.stat().st_mode) != 0o600
    store.close()
    path.unlink()
    os.mkfifo(path)
    store = Store(path)  # And does not wait for its other end.
    store.write(some(1))
    assert texts(store) == ["event 0"]


def test_where_there_can_be_no_file_it_is_in_memory(tmp_path: Path) -> None:
    store = Store(tmp_path / "missing" / FILE_NAME)
    store.write(some(1))
    assert texts(store) == ["event 0"]
    assert "kept in memory" in store.problems()[0]
    assert not (tmp_path / "missing").exists()


def test_a_second_program_goes_on_without_waiting_for_the_first(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.0)
    store, other = Store(path), sqlite3.connect(path, isolation_level=None)
    store.write(some(1))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.write(some(1))
    other.execute("ROLLBACK")
    other.close()
    store.write(some(1))
    assert len(texts(store)) == 2
