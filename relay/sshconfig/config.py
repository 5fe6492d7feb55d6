"""ssh_config(5): which settings hold for a host.

"For each parameter, the first obtained value will be used." So the sources are given in the order
of their weight: flags, `-o`, ~/.ssh/config, /etc/ssh/ssh_config; and a later value of a keyword
is not looked at, but for those keywords whose values add up.

    flags, -o ─set─►
                     Config ─get─► the programs' configurations
    files ──read──►

asyncssh has a parser of this format, which does not serve: it passes over unknown keywords and
over LocalForward, RemoteForward, DynamicForward, GatewayPorts, ExitOnForwardFailure,
StrictHostKeyChecking, HashKnownHosts, PermitRemoteOpen and IgnoreUnknown; raises for
`ServerAliveInterval 30s` and for a comment behind a value; matches without regard to case; does
not say where a value came from; and could be taught all that by its private names only. So this
one is our own, by ssh_config(5) and by what OpenSSH 9.2 does, which the tests ask (`ssh -G`).

Nothing here reads a file, runs a command or asks a name server: `Outside` does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, cast, overload

from relay.core.forward import require_harmless_user
from relay.core.patterns import match_pattern, match_pattern_list
from relay.errors import UsageError
from relay.sshconfig import keywords
from relay.sshconfig.keywords import (
    KEYWORDS,
    NOT_SERVED,
    PASSED_OVER,
    WITHOUT_MEANING,
    Keyword,
)
from relay.sshconfig.tokens import (
    HOST_TOKENS,
    Local,
    expand_command,
    expand_path,
    expand_tokens,
    tokens,
)
from relay.sshconfig.values import Hop
from relay.sshconfig.words import Line, Place, parse_line

T = TypeVar("T")
D = TypeVar("D")

MAX_INCLUDE_DEPTH: Final = 16
"""How deep files may include files, as in OpenSSH: a file that includes itself must end."""

DEFAULT_PORT: Final = 22


class Outside(Protocol):
    """What a configuration asks of the machine."""

    def find(self, pattern: str) -> list[str]:
        """The files whose absolute names match, in lexical order."""
        ...

    def read(self, path: str, place: Place) -> str:
        """The text of a file that `place` includes. Raises UsageError."""
        ...

    def run(self, command: str) -> bool:
        """Whether the command, given to a shell, succeeds. Raises UsageError."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and where it was given."""

    value: Any
    place: Place


@dataclass(frozen=True, slots=True)
class Source:
    """A file under evaluation.

    `folder` is where a relative Include looks; `user` tells ~/.ssh/config and what it includes
    from the system's files. In a `dead` one, included where no condition held, nothing applies,
    but mistakes are still found.
    """

    name: str
    folder: str
    user: bool
    depth: int = 0
    dead: bool = False


class Config:
    """What has been set so far for the host that was typed as `original`."""

    def __init__(self, original: str, local: Local, outside: Outside) -> None:
        self.original = original
        self.local = local
        # True once a `Match final` asked for the files to be read again.
        self.wants_final = False
        # What was accepted and changes nothing, though somebody may think so: for the log.
        self.passed_over: list[str] = []
        self._outside = outside
        self._settings: dict[str, list[Setting]] = {}
        # What Host patterns are compared with: the name as typed; in the final pass, the real one.
        self._pattern_host = original
        self._final = False

    # -- what came of it

    @overload
    def get(self, keyword: Keyword[T]) -> T | None: ...
    @overload
    def get(self, keyword: Keyword[T], default: D) -> T | D: ...
    def get(self, keyword: Keyword[Any], default: Any = None) -> Any:
        """The value of a keyword, or the default if it was not set."""
        settings = self._settings.get(keyword.name)
        return settings[0].value if settings else default

    def all(self, keyword: Keyword[T]) -> list[tuple[T, Place]]:
        """All values of a keyword whose values add up, and where each was given."""
        return [(cast(T, one.value), one.place) for one in self._settings.get(keyword.name, [])]

    def explain(self, keyword: Keyword[T], use: Callable[[T], D], default: D) -> D:
        """`use` of the keyword's value; what that raises is told with the value's place."""
        for setting in self._settings.get(keyword.name, []):
            try:
                return use(cast(T, setting.value))
            except UsageError as error:
                raise setting.place.error(error, keyword.name) from None
        return default

    @property
    def host(self) -> str:
        """The host that is dialled: HostName, or what was typed."""
        if self._final:
            return self._pattern_host
        allowed = {"h": self.original}
        return self.explain(
            keywords.HOST_NAME,
            lambda name: expand_tokens(name, allowed, HOST_TOKENS),
            self.original,
        )

    @property
    def user(self) -> str:
        """The user to log in as."""
        return self.get(keywords.USER, self.local.user)

    @property
    def port(self) -> int:
        """The port that is dialled."""
        return self.get(keywords.PORT, DEFAULT_PORT)

    def tokens(self) -> dict[str, str]:
        """What the tokens stand for, as far as it is known by now."""
        hops: tuple[Hop, ...] = self.get(keywords.PROXY_JUMP, ())
        return tokens(
            self.local,
            original=self.original,
            host=self.host,
            port=self.port,
            user=self.user,
            alias=self.get(keywords.HOST_KEY_ALIAS, ""),
            jump=hops[-1].host if hops else "",
        )

    # -- what goes in

    def set(self, keyword: Keyword[T], value: T, place: Place) -> None:
        """Set a keyword, unless an earlier value counts. Raises UsageError for the name of a user
        that the command line gives and a shell would not take for a name: ssh too lets a file's
        pass, whose writer could write a command as well."""
        if keyword is keywords.USER and not place.line:
            try:
                require_harmless_user(str(value))
            except UsageError as error:
                raise place.error(error) from None
        settings = self._settings.setdefault(keyword.name, [])
        if keyword.adds_up:
            if all(one.value != value for one in settings):
                settings.append(Setting(value, place))
        elif not settings and not self._excluded(keyword):
            settings.append(Setting(value, place))

    def _excluded(self, keyword: Keyword[Any]) -> bool:
        """ "This option [ProxyJump] will compete with the ProxyCommand option - whichever is
        specified first will prevent later instances of the other from taking effect."

        But `ProxyJump none` is no such instance to ssh, while `ProxyCommand none` is.
        """
        if keyword is keywords.PROXY_JUMP:
            return bool(self._settings.get(keywords.PROXY_COMMAND.name))
        return keyword is keywords.PROXY_COMMAND and bool(self.get(keywords.PROXY_JUMP))

    def option(self, text: str) -> None:
        """One `-o`. Raises UsageError."""
        place = Place(f"-o {_shown(text)}")
        line = parse_line(text, place)
        if line is None:
            raise place.error("give Keyword=value")
        if line.keyword.lower() in ("host", "match", "include"):
            raise place.error(f"{line.keyword} has its place in a file only")
        self._apply(line, active=True)

    def begin_final(self, host: str) -> None:
        """From now on the files are read for the last time, with the host's real name."""
        self._pattern_host = host
        self._final = True

    def read(self, text: str, source: Source) -> None:
        """Evaluate the text of a file. Raises UsageError with the line that is wrong."""
        active = not source.dead
        for number, raw in enumerate(text.split("\n"), start=1):
            line = parse_line(raw, Place(source.name, number))
            if line is None:
                continue
            match line.keyword.lower():
                case "host":
                    active = self._host(line) and not source.dead
                case "match":
                    active = self._match(line, source.dead) and not source.dead
                case "include":
                    self._include(line, source, active)
                case _:
                    self._apply(line, active)

    def _apply(self, line: Line, active: bool) -> None:
        name = line.keyword.lower()
        keyword = KEYWORDS.get(name)
        if keyword is not None:
            try:
                value = keyword.parse(line)
            except UsageError as error:
                raise line.place.error(error, keyword.name) from None
            if active:
                self.set(keyword, value, line.place)
        elif name in NOT_SERVED:
            if active and [word.lower() for word in line.words] not in (["no"], ["none"]):
                raise line.place.error(f"{line.keyword} is not served: {NOT_SERVED[name]}")
        elif name not in WITHOUT_MEANING:
            # "It is recommended that IgnoreUnknown be listed early in the configuration file as
            # it will not be applied to unknown options that appear before it."
            ignored = self.get(keywords.IGNORE_UNKNOWN, "")
            if match_pattern_list(name, ignored):
                return
            if name not in PASSED_OVER:
                raise line.place.error(_unknown(line.keyword))
            self._pass_over(line, active)

    def _pass_over(self, line: Line, active: bool) -> None:
        text = f"{line.place}: {line.keyword}: {PASSED_OVER[line.keyword.lower()]}"
        if active and line.words[0].lower() != "no" and text not in self.passed_over:
            self.passed_over.append(text)

    # -- conditions

    def _host(self, line: Line) -> bool:
        """ "If a negated entry is matched, then the Host entry is ignored, regardless of whether
        any other patterns on the line match." Case matters, as it does to ssh."""
        if "" in line.words:
            raise line.place.error("Host: a pattern is empty")
        found = False
        for word in line.words:
            pattern = word.removeprefix("!")
            if match_pattern(self._pattern_host, pattern, ignore_case=False):
                if word.startswith("!"):
                    return False
                found = True
        return found

    def _match(self, line: Line, dead: bool) -> bool:
        words = list(line.words)
        result, count = not dead, 0
        while words:
            word = words.pop(0)
            count += 1
            name, equals, argument = word.removeprefix("!").partition("=")
            name = name.lower()
            if name in ("all", "canonical", "final") and not equals:
                # "The all criteria must appear alone or immediately after canonical or final."
                if name == "all" and (words or count > 2):
                    raise line.place.error("Match: all stands alone, or last after canonical")
                self.wants_final |= name == "final" and not word.startswith("!")
                holds = name == "all" or self._final
            else:
                if name not in _CRITERIA:
                    known = "all, canonical, final, " + ", ".join(_CRITERIA)
                    raise line.place.error(f"Match: unknown criterion {name!r}: known are {known}")
                if not equals:
                    argument = words.pop(0) if words else ""
                if not argument and name != "tagged":
                    raise line.place.error(f"Match: {name} needs a value after it")
                # A command is not run when the answer is known without it.
                holds = result and self._holds(name, argument, line.place)
            result = result and holds != word.startswith("!")
        if not count:
            raise line.place.error("Match: give all, or a criterion such as host or user")
        return result

    def _holds(self, name: str, argument: str, place: Place) -> bool:
        match name:
            case "host":
                return _match_host(self.host, argument)
            case "originalhost":
                return _match_host(self.original, argument)
            case "user":
                return match_pattern_list(self.user, argument, ignore_case=False)
            case "localuser":
                return match_pattern_list(self.local.user, argument, ignore_case=False)
            case "tagged":
                tag = self.get(keywords.TAG, "")
                return match_pattern_list(tag, argument, ignore_case=False)
        try:
            return self._outside.run(expand_command(argument, self.tokens()))
        except UsageError as error:
            raise place.error(error, "Match exec") from None

    def _include(self, line: Line, source: Source, active: bool) -> None:
        """ "Files without absolute paths are assumed to be in ~/.ssh if included in a user
        configuration file or /etc/ssh if included from the system configuration file"."""
        if source.depth >= MAX_INCLUDE_DEPTH:
            raise line.place.error(f"Include: files include files {MAX_INCLUDE_DEPTH} times over")
        for word in line.words:
            if not word or (word.startswith("~") and not source.user):
                raise line.place.error(f"Include: {word!r} is no file of the system's")
            try:
                pattern = expand_path(word, self.tokens(), self.local)
            except UsageError as error:
                raise line.place.error(error, "Include") from None
            if not pattern.startswith(("/", "~")):
                pattern = f"{source.folder}/{pattern}"
            for path in self._outside.find(pattern):
                text = self._outside.read(path, line.place)
                included = Source(path, source.folder, source.user, source.depth + 1, not active)
                self.read(text, included)


_CRITERIA: Final = ("exec", "host", "originalhost", "user", "localuser", "tagged")


def _shown(option: str) -> str:
    """An option as an error names it: without a URL's password, were there one, or what may be one.
    (A keyword may be misspelt.)"""
    found = re.match(r"\W*(\w*)", option)
    keyword = found[1] if found is not None else ""
    hidden = keyword.lower() == keywords.PROXY_URL.name.lower() or re.search("://.*@", option)
    return keyword if hidden else option


def _match_host(host: str, patterns: str) -> bool:
    # As in OpenSSH, the patterns are put in lower case and the host is not.
    return match_pattern_list(host, patterns.lower(), ignore_case=False)


def _unknown(keyword: str) -> str:
    names = {name.lower(): name for name in (one.name for one in KEYWORDS.values())}
    close = difflib.get_close_matches(keyword.lower(), names, n=1)
    hint = f", {names[close[0]]} perhaps" if close else ""
    return f"{keyword} is no keyword of ssh_config{hint} (IgnoreUnknown {keyword} lets it pass)"
