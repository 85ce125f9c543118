"""The drivers as TaskFlow's ``jobs.backends.fetch`` makes them from their configuration.

=============== =====================================================================================================
``board``       ``jobrunner-redis`` or ``jobrunner-sql``
``connection``  the server's URL, as jobrunner's ``board.url`` and ``persistence.url``; ``url`` means the same
``lease``       seconds for which a claim outlives its process (10)
``namespace``   keeps several boards on one server apart (``jobrunner``)
``remember``    jobrunner-redis only: seconds for which a job is known to have been consumed (3600)
=============== =====================================================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from jobrunner.boards.taskflow.jobboard import PostingBoard
from jobrunner.boards.taskflow.postings import Postings
from jobrunner.errors import ConfigError

LEASE_S = 10.0
REMEMBER_S = 3600.0
NAMESPACE = "jobrunner"


def redis_board(name: str, conf: Mapping[str, Any], persistence: Any = None) -> PostingBoard:
    """A board on Redis or Valkey; raises ConfigError if the configuration is not valid. Connects to nothing yet."""
    from jobrunner.boards.taskflow.redis import RedisPostings

    url, namespace, remember = _url(conf), _namespace(conf), _seconds(conf, "remember", REMEMBER_S)

    def open_postings() -> Postings:
        return RedisPostings(url, namespace=namespace, remember=remember)

    return _board(name, conf, open_postings, persistence)


def sql_board(name: str, conf: Mapping[str, Any], persistence: Any = None) -> PostingBoard:
    """A board in SQLite, MariaDB, MySQL or PostgreSQL, in a database that `jobrunner db upgrade` gave its tables."""
    from jobrunner.boards.taskflow.sql import SqlPostings

    url, namespace = _url(conf), _namespace(conf)

    def open_postings() -> Postings:
        return SqlPostings(url, namespace=namespace)

    return _board(name, conf, open_postings, persistence)


def _board(name: str, conf: Mapping[str, Any], open_postings: Any, persistence: Any) -> PostingBoard:
    lease = _seconds(conf, "lease", LEASE_S)
    return PostingBoard(name, conf, open_postings=open_postings, lease=lease, persistence=persistence)


def _url(conf: Mapping[str, Any]) -> str:
    url = conf.get("connection") or conf.get("url")
    if not isinstance(url, str) or "://" not in url:
        raise ConfigError(
            "The job board's configuration names no server.",
            hint="Give it `connection`, such as redis://host:6379/0 or mysql+pymysql://user:password@host/database.",
        )
    return url


def _namespace(conf: Mapping[str, Any]) -> str:
    namespace = str(conf.get("namespace") or NAMESPACE)
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", namespace):
        raise ConfigError(
            f"The job board's namespace {namespace!r} is not valid.",
            hint="Use up to 64 letters, digits, dots, colons and dashes.",
        )
    return namespace


def _seconds(conf: Mapping[str, Any], key: str, default: float) -> float:
    value = conf.get(key, default)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(
            f"The job board's {key} {value!r} is not valid.", hint="Use a number of seconds, such as 10."
        )
    return seconds
