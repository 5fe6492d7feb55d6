"""authorized_keys, as a server reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from relay.log import EventLog
from relay.policy import authorized_keys
from relay.policy.authorized_keys import AuthorizedKeys, Entry, Refusal


class KeyFile:
    """authorized_keys, read again whenever it has changed."""

    def __init__(self, path: Path, log: EventLog) -> None:
        self._path = path
        self._log = log
        self._seen: tuple[int, ...] | None = None
        self._keys = AuthorizedKeys()

    def find_key(self, blob: bytes, address: str) -> Entry | Refusal:
        """The line that admits this key now."""
        return self.keys().find(blob, address=address, now=datetime.now(UTC))

    def find_ca(self, blob: bytes, address: str, principals: Sequence[str]) -> Entry | Refusal:
        """The `cert-authority` line that admits certificates of this signer now."""
        return self.keys().find(
            blob, address=address, now=datetime.now(UTC), ca=True, principals=principals
        )

    def keys(self) -> AuthorizedKeys:
        """What the file says now. A file that cannot be read admits nobody, and is reported."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return self._keys
            text = self._path.read_text(errors="surrogateescape")
        except OSError as error:
            if self._seen != ():
                self._log.warning(
                    "authorized keys", "{path}: {error}: nobody can log in",
                    path=str(self._path), error=error.strerror or str(error),
                )  # fmt: skip
            self._seen, self._keys = (), AuthorizedKeys()
            return self._keys
        self._seen, self._keys = seen, authorized_keys.parse(text, str(self._path))
        for problem in self._keys.problems:
            self._log.warning("authorized keys", "{problem}", problem=str(problem))
        self._log.info(
            "authorized keys", "{path}: {keys} keys",
            path=str(self._path), keys=len(self._keys.entries),
        )  # fmt: skip
        return self._keys
