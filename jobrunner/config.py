"""The configuration: read and validated once, then passed in.

Files first (``--config``, else ``$JOBRUNNER_CONFIG``, else ``./jobrunner.toml``, else the user's, else the system's),
overridden by ``JOBRUNNER_SECTION__KEY`` variables, overridden by flags. With none of them, board and store are one
SQLite file in the user's data directory.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jobrunner.errors import ConfigError
from jobrunner.policies import ANY_NUMBER, LONGEST_PERIOD_S, MOST_STARTS
from jobrunner.states import TERMINAL_STATES

MIB = 1024 * 1024
ENV_PREFIX = "JOBRUNNER_"
LABEL = re.compile(r"[A-Za-z0-9_.@-]{1,64}(=[A-Za-z0-9_.@-]{1,64})?")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BoardSection(Section):
    """Where jobs wait and are claimed."""

    url: str | None = Field(
        None, description="redis://host:6379/0, or the store's own URL; default: the store"
    )
    password: str | None = Field(
        default=None, description="The board server's password, if it is not in the URL"
    )
    prefix: str = Field(
        "jobrunner", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="What its keys start with"
    )


class PersistenceSection(Section):
    """The SQL database that holds the truth."""

    url: str | None = Field(
        None, description="mysql+pymysql://user@host/db, postgresql+psycopg://..., sqlite:///path"
    )
    password: str | None = Field(default=None, description="The database's password, if it is not in the URL")
    patience: float = Field(
        300.0, gt=0, description="Seconds for which an outage of the database costs no job"
    )
    pool_size: int = Field(
        default=5, ge=1, le=100, description="Connections that a process keeps open at most"
    )


class ConductorSection(Section):
    """The processes that claim and run jobs on this machine."""

    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_.@-]{1,128}$", description="The node's name; default: the host's"
    )
    processes: int | None = Field(
        default=None, ge=1, le=256, description="Worker processes; default: one a core"
    )
    jobs: int = Field(default=16, ge=1, le=1000, description="Jobs that a worker process runs at once")
    max_running: int | None = Field(
        default=None,
        ge=1,
        le=256_000,
        description="Jobs that this node runs at once; default: no limit but these",
    )
    lease: float = Field(
        10.0, ge=0.5, le=3600, description="Seconds after which a dead machine's jobs are taken over"
    )
    grace: float = Field(
        default=30.0, ge=0, description="Seconds that running atoms get to end at a shutdown"
    )
    give_way: float = Field(
        0.015, ge=0, le=1, description="Seconds for which it lets freer nodes go first, at most; 0: never"
    )
    run_as: tuple[str, ...] = Field(
        default=(), description="Users as whom jobs may be run, if the conductor runs as root"
    )
    capability_timeout: float = Field(
        5.0, gt=0, description="Seconds after which a capability counts as not there"
    )
    labels: tuple[str, ...] = Field(
        default=(), description="The node's labels, names or name=value, for post --on label=..."
    )

    @field_validator("labels")
    @classmethod
    def _plain_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not LABEL.fullmatch(label):
                raise ValueError(
                    f"{label!r} is no label: a label is a name, or name=value, of letters, digits and _ . @ -"
                )
        return tuple(dict.fromkeys(labels))


class FlowsSection(Section):
    """Where plugins are looked for, besides jobrunner's own and installed packages'."""

    paths: tuple[Path, ...] = Field(
        default=(), description="Plugin directories, instead of ./flows and JOBRUNNER_FLOWS"
    )


class OutputSection(Section):
    """What is kept of what tasks print and log."""

    limit_bytes: int = Field(
        10 * MIB, ge=4096, description="Bytes kept of one job's output; then its middle goes"
    )


class RetentionRule(Section):
    """How long finished jobs of a state, of a type, or of both are kept; with no limit, for ever."""

    state: str | None = None
    type: str | None = None
    max_days: float | None = Field(default=None, ge=0)
    max_count: int | None = Field(default=None, ge=0)

    @field_validator("state")
    @classmethod
    def _a_state(cls, state: str | None) -> str | None:
        if state is None:
            return None
        known = {one.value for one in TERMINAL_STATES}
        if state.upper() not in known:
            raise ValueError(f"{state!r} is no state in which a job has ended: {', '.join(sorted(known))}")
        return state.upper()

    def fits(self, state: str, type_: str) -> bool:
        """Whether it is about jobs of this state and type."""
        return self.state in (None, state) and self.type in (None, type_)


class RetentionSection(Section):
    """How long finished jobs are kept, with their output and all else; conductors remove the others."""

    max_days: float | None = Field(
        default=None, ge=0, description="Days for which finished jobs are kept; default: for ever"
    )
    max_count: int | None = Field(
        default=None, ge=0, description="Finished jobs kept of each type and state; default: all"
    )
    rules: tuple[RetentionRule, ...] = Field(
        default=(), description="What holds for a state or type instead; the first that fits"
    )
    every: float = Field(
        default=600.0, gt=0, description="Seconds from one time that jobs are removed to the next"
    )

    @field_validator("rules", mode="before")
    @classmethod
    def _rules_as_json(cls, rules: Any) -> Any:
        if not isinstance(rules, str):
            return rules
        try:
            return json.loads(rules)
        except ValueError as error:
            raise ValueError(f"a list in JSON was expected: {error}") from error

    @property
    def all_rules(self) -> tuple[RetentionRule, ...]:
        """The rules, and last what holds for all that none of them is about."""
        return (*self.rules, RetentionRule(max_days=self.max_days, max_count=self.max_count))

    @property
    def is_limited(self) -> bool:
        """Whether anything is ever to be removed."""
        return any(rule.max_days is not None or rule.max_count is not None for rule in self.all_rules)


class Limit(Section):
    """How many units a semaphore has, and how many jobs that hold it may start in a time; None is as the jobs say."""

    count: int | None = Field(default=None, ge=0, le=ANY_NUMBER)
    rate: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_short(cls, value: Any) -> Any:
        """A number, ``any``, or a rate stands for itself."""
        if isinstance(value, (bool, float, list, tuple)):
            raise ValueError(LIMIT_EXPECTED)
        if isinstance(value, str) and "/" in value:
            return {"rate": value}
        if isinstance(value, Mapping):
            return {**value, **({"count": _count(value["count"])} if "count" in value else {})}
        return {"count": _count(value)} if isinstance(value, (int, str)) else value

    @field_validator("rate")
    @classmethod
    def _a_rate(cls, rate: str | None) -> str | None:
        if rate is not None:
            _rate_of(rate)
        return rate

    @model_validator(mode="after")
    def _says_something(self) -> Limit:
        if self.count is None and self.rate is None:
            raise ValueError(LIMIT_EXPECTED)
        return self

    @property
    def starts(self) -> tuple[int, int] | None:
        """So many starts within so many milliseconds."""
        return None if self.rate is None else _rate_of(self.rate)


def _count(value: Any) -> Any:
    return ANY_NUMBER if isinstance(value, str) and value.strip().lower() == "any" else value


def _rate_of(text: str) -> tuple[int, int]:
    found = RATE.fullmatch(text.strip())
    starts, period = (int(found[1]), float(found[2]) * RATE_UNITS[found[3]]) if found else (0, 0.0)
    if not 1 <= starts <= MOST_STARTS or not 0.001 <= period <= LONGEST_PERIOD_S:
        raise ValueError(
            f"{text!r} is no rate such as 10/1m or 100/1h: up to {MOST_STARTS:,} starts, in up to 31 days"
        )
    return starts, round(period * 1000)


LIMIT_EXPECTED = "a number, any, a rate such as 10/1m, or a table with count, rate or both was expected"
RATE = re.compile(r"([0-9]{1,6})\s*/\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
RATE_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
Named = dict[str, Limit]


class LimitsSection(Section):
    """How many jobs may run at once, or start in a time, for the whole installation."""

    semaphores: Named = Field(default={}, description="Units of named semaphores, rates, or both")
    types: Named = Field(
        default={}, description="Jobs of a type, in the place of its own max_running and rate"
    )
    nodes: Named = Field(default={}, description="Jobs that run on a node at once")
    tags: Named = Field(default={}, description="Jobs with a tag, name=value")

    @field_validator("*", mode="before")
    @classmethod
    def _as_json(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except ValueError as error:
            raise ValueError(f"an object in JSON was expected: {error}") from error

    @field_validator("*")
    @classmethod
    def _names(cls, named: Named) -> Named:
        for name in named:
            if not 0 < len(name) <= 190 or not name.isprintable() or name != name.strip():
                raise ValueError(f"{name[:60]!r} cannot name what is limited: up to 190 printable characters")
        return named

    @field_validator("semaphores")
    @classmethod
    def _plain_names(cls, named: Named) -> Named:
        for name in named:
            kind = name.partition(":")[0]
            if ":" in name and f"{kind}s" in cls.model_fields:
                raise ValueError(f"{name!r} belongs into limits.{kind}s, without its {kind}:")
        return named

    @field_validator("nodes")
    @classmethod
    def _only_counts(cls, named: Named) -> Named:
        for name, limit in named.items():
            if limit.rate is not None:
                raise ValueError(f"the node {name!r} cannot have a rate, only a number of jobs")
        return named

    @field_validator("tags")
    @classmethod
    def _names_and_values(cls, named: Named) -> Named:
        for name in named:
            if "=" not in name:
                raise ValueError(f"{name!r} is no tag: a tag is name=value")
        return named

    @property
    def by_semaphore(self) -> dict[str, Limit]:
        """All of them, by the names that `jobrunner limits` has for them."""
        kinds = {"": self.semaphores, "type:": self.types, "node:": self.nodes, "tag:": self.tags}
        return {f"{kind}{name}": limit for kind, named in kinds.items() for name, limit in named.items()}


class Config(Section):
    """Everything that can be configured."""

    board: BoardSection = BoardSection()
    persistence: PersistenceSection = PersistenceSection()
    conductor: ConductorSection = ConductorSection()
    flows: FlowsSection = FlowsSection()
    output: OutputSection = OutputSection()
    retention: RetentionSection = RetentionSection()
    limits: LimitsSection = LimitsSection()

    @property
    def store_url(self) -> str:
        """The database's URL, with its password."""
        url = self.persistence.url or f"sqlite:///{default_database()}"
        return with_password(url, self.persistence.password)

    @property
    def board_url(self) -> str:
        """The board's URL, with its password; the store's URL if the board is in the store."""
        return (
            self.store_url if self.board.url is None else with_password(self.board.url, self.board.password)
        )

    @property
    def node_name(self) -> str:
        return self.conductor.name or socket.gethostname()

    @property
    def processes(self) -> int:
        """Worker processes; never more than jobs may run."""
        wanted = self.conductor.processes or len(os.sched_getaffinity(0))
        return min(wanted, self.conductor.max_running or wanted)

    def jobs_of(self, number: int, limit: int | None = None) -> int:
        """How many jobs the worker process of this number runs at once: its share of what the node may.

        :param limit: what somebody has limited the node to, if that is less
        """
        most = self.conductor.max_running or 256_000
        share, rest = divmod(most if limit is None else min(most, limit), self.processes)
        return min(self.conductor.jobs, share + (number < rest))

    @field_validator("board")
    @classmethod
    def _board_scheme(cls, board: BoardSection) -> BoardSection:
        if board.url is not None and "://" not in board.url:
            raise ValueError(
                "board.url is not a URL such as redis://host:6379/0"
            )  # not told: it may hold a password
        return board

    @model_validator(mode="after")
    def _no_contradiction(self) -> Config:
        board, store = self.board.url, self.persistence.url
        if board is not None and _is_sql(board):
            wanted = store or f"sqlite:///{default_database()}"
            if with_password(board, None, strip=True) != with_password(wanted, None, strip=True):
                raise ValueError(
                    "board.url and persistence.url contradict each other: a board in SQL lives in the store's own "
                    f"database, but board.url names {hide_password(board)} and persistence.url "
                    f"{hide_password(wanted)}. Leave board.url out, or give both the same URL"
                )
        for name, section in (("board", self.board), ("persistence", self.persistence)):
            if section.password and section.url and _has_password(section.url):
                raise ValueError(
                    f"{name}.url and {name}.password contradict each other: both give a password. Leave one of them out"
                )
        return self


@dataclass(frozen=True, kw_only=True)
class LoadedConfig:
    """A configuration, and where each of its values came from (``section.key`` to a file, variable or flag)."""

    config: Config
    origins: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None


def load_config(
    path: str | Path | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedConfig:
    """Read, merge and validate; raises ConfigError with every fault, each with where it came from.

    :param path: the file named by ``--config``; one that is named must exist
    :param flags: values from the command line, by ``section.key``; None means not given
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    values: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    if file is not None:
        _merge(values, origins, _read_toml(file), lambda key: str(file))
    _merge(values, origins, _from_environment(environ), lambda key: _variable(key))
    _merge(
        values, origins, _from_flags(flags or {}), lambda key: "--" + key.replace(".", "-").replace("_", "-")
    )
    _read_secret_files(values, origins)
    try:
        return LoadedConfig(config=Config.model_validate(values), origins=origins, file=file)
    except ValidationError as error:
        raise ConfigError(
            _explain(error, origins), hint="`jobrunner config show` lists every key there is."
        ) from error


def find_file(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file to read, if there is one."""
    named = path or environ.get("JOBRUNNER_CONFIG")
    if named:
        file = Path(named).expanduser()
        if not file.is_file():
            raise ConfigError(
                f"The configuration file {file} does not exist.", hint="Check --config and JOBRUNNER_CONFIG."
            )
        return file
    return next((place for place in places(environ) if place.is_file()), None)


def places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a configuration file is looked for if none is named; the first that is there is read."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    return (
        Path("jobrunner.toml"),
        home / "jobrunner" / "jobrunner.toml",
        Path("/etc/jobrunner/jobrunner.toml"),
    )


def data_directory() -> Path:
    """The user's data directory for jobrunner."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()) / "jobrunner"


def default_database() -> Path:
    """The embedded default's file."""
    return data_directory() / "jobrunner.sqlite"


def with_password(url: str, password: str | None, *, strip: bool = False) -> str:
    """``url`` with its password set, or taken out."""
    from urllib.parse import quote, urlsplit, urlunsplit

    parts = urlsplit(url)
    if not parts.netloc or (password is None and not strip):
        return url
    userinfo, _, host = parts.netloc.rpartition("@")
    user = userinfo.partition(":")[0]
    if password is not None:
        user = f"{user}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{user}@{host}" if user else host))


def hide_password(url: str) -> str:
    """A URL without any password in it, even if it is not well-formed, or the password is in its query."""
    url = _SECRET_QUERY.sub(r"\1***", url)
    if _has_password(url):
        return with_password(url, "***").replace("%2A%2A%2A", "***")
    if url.startswith("sqlite"):
        return url
    # a password with an unquoted slash or hash: urlsplit does not see it as one, people do
    return _USER_AND_PASSWORD.sub(r"\1:***@", url)


_SECRET_QUERY = re.compile(r"([?&;][^=&;]*(?:pass|pw|secret|token)[^=&;]*=)[^&;#]*", re.IGNORECASE)
_USER_AND_PASSWORD = re.compile(r"^([a-z][a-z0-9+.-]*://[^:/@?#]*):.*@", re.IGNORECASE | re.DOTALL)


def _has_password(url: str) -> bool:
    from urllib.parse import urlsplit

    return urlsplit(url).password is not None


def _is_sql(url: str) -> bool:
    return url.split("+")[0].split(":")[0] in ("sqlite", "mysql", "mariadb", "postgresql", "postgres")


def _read_toml(file: Path) -> dict[str, dict[str, Any]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"The configuration file {file} cannot be read: {error}.",
            hint="Mend it, or name another with --config or JOBRUNNER_CONFIG.",
        ) from error
    loose = sorted(key for key, value in content.items() if not isinstance(value, dict))
    if loose:
        raise ConfigError(
            f"{file}: {loose[0]} stands outside of a section.", hint=f"Sections are {_sections()}."
        )
    return content


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for variable, value in environ.items():
        section, separator, key = variable.removeprefix(ENV_PREFIX).lower().partition("__")
        if variable.startswith(ENV_PREFIX) and separator and section in Config.model_fields:
            found.setdefault(section, {})[key] = value
    return found


def _from_flags(flags: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in flags.items():
        if value is not None:
            section, _, key = name.partition(".")
            found.setdefault(section, {})[key] = value
    return found


def _merge(
    values: dict[str, dict[str, Any]],
    origins: dict[str, str],
    more: Mapping[str, Mapping[str, Any]],
    origin: Any,
) -> None:
    for section, content in more.items():
        for key, value in content.items():
            if section == "flows" and key == "paths" and isinstance(value, str):
                value = [part for part in value.split(os.pathsep) if part]
            if section == "conductor" and key in ("run_as", "labels") and isinstance(value, str):
                value = [part.strip() for part in value.split(",") if part.strip()]
            values.setdefault(section, {})[key] = value
            # a later source's plain value overrides an earlier one's file, and the other way round
            twin = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
            if values[section].pop(twin, None) is not None and origins.get(f"{section}.{twin}") == origin(
                f"{section}.{key}"
            ):
                both = origin(f"{section}.{key}")
                raise ConfigError(
                    f"{section}.{key} and {section}.{twin} contradict each other: {both} gives both."
                )
            origins.pop(f"{section}.{twin}", None)
            origins[f"{section}.{key}"] = origin(f"{section}.{key}")


def _read_secret_files(values: dict[str, dict[str, Any]], origins: dict[str, str]) -> None:
    """``key_file`` gives the content of a file as ``key``: how containers and systemd hand over secrets."""
    for section, content in values.items():
        model = Config.model_fields.get(section)
        known = getattr(model.annotation, "model_fields", {}) if model else {}
        for name in [key for key in content if key.endswith("_file") and key.removesuffix("_file") in known]:
            path = Path(str(content.pop(name))).expanduser()
            key = name.removesuffix("_file")
            try:
                content[key] = path.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(f"{section}.{name}: {path} cannot be read: {error.strerror}.") from error
            origins[f"{section}.{key}"] = f"{path} (named by {origins.pop(f'{section}.{name}')})"


def _variable(key: str) -> str:
    return ENV_PREFIX + key.replace(".", "__").upper()


def _sections() -> str:
    return ", ".join(f"[{name}]" for name in Config.model_fields)


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        message = str(fault["msg"]).removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"there is no such key{_similar(fault['loc'])}"
        origin = f" (from {origins[place]})" if place in origins else ""
        line = f"{place + ': ' if place else ''}{message}{origin}"
        lines.append(line if line.endswith("?") else f"{line}.")
    return "\n".join(lines)


def _similar(place: Sequence[Any]) -> str:
    import difflib

    names: list[str] = list(Config.model_fields)
    if len(place) > 1:
        model = Config.model_fields[str(place[0])].annotation
        names = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(str(place[-1]), names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
