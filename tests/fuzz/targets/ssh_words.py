"""`parse_line` and `split_words` of ssh_config: any line, and its words quoted again."""

from __future__ import annotations

from relay.errors import UsageError
from relay.sshconfig.words import Place, parse_line, split_words


def one_input(data: bytes) -> None:
    try:
        line = parse_line(data.decode(errors="surrogateescape"), Place("config", 1))
    except UsageError:
        return
    if line is not None:
        assert line.keyword
        assert line.words
        assert split_words(" ".join(map(quoted, line.words))) == line.words


def quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
