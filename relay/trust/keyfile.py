"""authorized_keys, as a server reads it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from relay.core.text import decode
from relay.errors import FileError
from relay.events import Events
from relay.trust import authorized_keys
from relay.trust.authorized_keys import AuthorizedKeys, Entry, Refusal
from relay.trust.certificates import Certificate
from relay.trust.modes import check_strict

_Seen = tuple[int, ...]


class KeyFile:
    """authorized_keys, read again whenever it has changed.

    A login goes by the file as it is at that moment, as in sshd. Who is in already is judged by
    what `settled` gives: an editor that empties the file and then writes it must throw nobody out.
    """

    def __init__(self, path: Path, events: Events, *, strict: bool = True) -> None:
        """`strict` is StrictModes of sshd_config(5)."""
        self.strict = strict
        self._path = path
        self._events = events
        # What the file looked like when `_text` was read; (): it could not be used.
        self._seen: _Seen | None = None
        self._text: str | None = None
        self._keys = AuthorizedKeys()
        # What it looked like at the last look, and when `settled` gave it last.
        self._looked: _Seen | None = None
        self._judged: _Seen | None = None

    def set_strict(self, strict: bool) -> None:
        """From now on; what was read before is read again."""
        if strict != self.strict:
            self.strict = strict
            self._seen = self._judged = None

    def find(
        self, blob: bytes, address: str, certificate: Certificate | None = None
    ) -> Entry | Refusal:
        """The line that admits this key now."""
        return self.keys().find(
            blob, address=address, now=datetime.now(UTC), certificate=certificate
        )

    def keys(self) -> AuthorizedKeys:
        """What the file says now. A file that cannot be used admits nobody, and is reported."""
        return self._read()

    def settled(self, *, at_once: bool = False) -> AuthorizedKeys | None:
        """To be called once in a while: what the file says, if that is news and is there to stay.

        It is when the file looks as it did at the call before, or somebody says so (`at_once`). A
        file that cannot be used, because it is gone or its modes are wrong, is an accident rather
        than an order to throw everybody out: for that it can be made empty.
        """
        try:
            seen = _look(os.stat(self._path))
        except OSError:
            seen = ()
        same, self._looked = seen == self._looked, seen
        if not (same or at_once) or seen == self._judged:
            return None
        # Read again even if a login has: it may have changed twice in one tick of its clock.
        keys = self._read(again=True)
        if self._seen == ():
            return None
        self._judged = self._seen
        return keys

    def _read(self, *, again: bool = False) -> AuthorizedKeys:
        try:
            if not again and _look(os.stat(self._path)) == self._seen:
                return self._keys
            with open(self._path, "rb") as file:
                status = os.fstat(file.fileno())
                if self.strict:
                    check_strict(self._path, status)
                text = decode(file.read())
        except FileError as error:
            return self._unusable(str(error))
        except OSError as error:
            return self._unusable(f"{self._path}: {error.strerror or error}")
        except ValueError as error:
            return self._unusable(f"{self._path}: {error}")
        self._seen = _look(status)
        if text != self._text:
            self._text, self._keys = (
                text,
                authorized_keys.parse(text, str(self._path), before=self._keys),
            )
            for problem in self._keys.problems:
                self._events.note("warning", "authorized keys", "{problem}", problem=str(problem))
            self._events.note(
                "info", "authorized keys", "{path}: {keys} keys",
                path=str(self._path), keys=len(self._keys.entries),
            )  # fmt: skip
        return self._keys

    def _unusable(self, problem: str) -> AuthorizedKeys:
        if self._seen != ():
            self._events.note(
                "warning", "authorized keys", "{problem}: nobody can log in; who is in stays",
                problem=problem,
            )  # fmt: skip
        self._seen, self._text, self._keys = (), None, AuthorizedKeys()
        return self._keys


def _look(status: os.stat_result) -> _Seen:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
