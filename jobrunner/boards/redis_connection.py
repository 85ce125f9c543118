"""How the redis board reaches its server: URLs, connections, scripts, and what its errors mean to a person."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from jobrunner.errors import BoardUnavailable, ConfigError
from jobrunner.passwords import hide_password

ANSWER_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
SENTINEL_PORT = 26379
LUA = Path(__file__).with_name("lua")
_DAMAGE = re.compile(r"WRONGTYPE|not an integer|not a valid float")


class RedisConnection:
    """A Redis by its URL: its client, its scripts, and its errors as ours.

    Nothing is tried twice by the client itself: a claim whose answer was lost must not claim once more. An idle
    connection that the server closed meanwhile is noticed before it is used.
    """

    def __init__(self, url: str, *, prefix: str) -> None:
        if not prefix or re.search(r"[{}\s]", prefix):
            raise ConfigError(
                f"board.prefix {prefix!r} is not valid.", hint="Use letters, digits and dashes."
            )
        self.name = hide_password(url)
        self.client = _client(url)
        self.base = f"{{{prefix}}}:"
        # Channels are not a database's own, as keys are.
        self.channel = f"{self.base}news:{self.client.connection_pool.connection_kwargs.get('db') or 0}"

    def run(self, script: str, *args: str | int) -> Any:
        """Run ``lua/<script>.lua``, one round trip; raises BoardUnavailable.

        The server keeps the script; a server that forgot it is told again. Keys that somebody else wrote into are
        mended on the way.
        """
        with self.errors():
            try:
                return self.call(script, *args)
            except ResponseError as error:
                if not _DAMAGE.search(str(error)):
                    raise
                from jobrunner.boards.redis_mending import mend

                mend(self)
                return self.call(script, *args)

    def call(self, name: str, *args: str | int) -> Any:
        """Run a script as :meth:`run` does, but raise the client's own errors, and mend nothing."""
        text = script_text(name)
        command = ("EVALSHA", _hash(text), 1, self.base, self.channel, *args)
        try:
            return self._send(*command)
        except NoScriptError:
            self._send("SCRIPT", "LOAD", text)
            return self._send(*command)

    def _send(self, *words: str | int) -> Any:
        """Send a command over a connection of the client's, and read the answer.

        The client's own way from a command to its connection, with callbacks, measurements and retries of which nothing
        is wanted here, takes as long as the rest.
        """
        pool = self.client.connection_pool
        connection: Any = pool.get_connection()
        try:
            connection.send_packed_command([_packed(words)])
            return connection.read_response()
        except ResponseError as error:
            if _is_read_only(error):
                # It was the primary once. Old connections stay there, new ones go where the address leads now.
                connection.disconnect()
                pool.disconnect(inuse_connections=False)
            raise
        except BaseException:
            connection.disconnect()  # whatever is still to come over it is not the next one's
            raise
        finally:
            pool.release(connection)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise what the client raises as BoardUnavailable."""
        try:
            yield
        except (RedisError, OSError) as error:
            what, hint = _explain(error)
            raise BoardUnavailable(f"The job board {self.name} {what}: {_brief(error)}", hint=hint) from error

    def close(self) -> None:
        with contextlib.suppress(RedisError, OSError):  # whatever is wrong with them, they are gone
            self.client.close()
            self.client.connection_pool.disconnect()


@cache
def script_text(name: str) -> str:
    """A script as the server gets it: what all have in common, and its own."""
    return f"{(LUA / 'common.lua').read_text('utf-8')}\n{(LUA / f'{name}.lua').read_text('utf-8')}"


@cache
def _hash(text: str) -> str:
    """What the server knows a script by."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _packed(words: Sequence[str | int]) -> bytes:
    """A command as the protocol has it: how many words, and each with its length in bytes."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = str(word).encode("utf-8", "surrogateescape")
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _is_cut_short(url: str) -> bool:
    """Whether a password has an unquoted character with which a URL's account and host end."""
    parts = urlsplit(url)
    return parts.scheme != "unix" and "@" not in parts.netloc and "@" in parts.path + parts.fragment


def _client(url: str) -> redis.Redis:
    if _is_cut_short(url):  # whose parts are not what they seem, so none of them is told
        raise ConfigError(
            "board.url is not valid: its user or password contains / or #.",
            hint="Write them as %2F and %23 there, or give board.password_file instead.",
        )
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower().replace("valkey", "redis")
    options: dict[str, Any] = {
        "socket_timeout": ANSWER_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": True,
        "encoding_errors": "surrogateescape",  # what others wrote into our keys need not be text
    }
    try:
        if scheme in ("redis+sentinel", "rediss+sentinel"):
            return _sentinel_client(f"{scheme}://{rest}", options)
        if scheme == "unix":
            options.pop("socket_keepalive")
            options.pop("socket_connect_timeout")
        else:
            _check_database(rest)
        return redis.Redis.from_url(f"{scheme}://{rest}", **options)
    except ValueError as error:
        raise ConfigError(
            f"board.url {hide_password(url)} is not valid: {error}",
            hint="Use redis://host:6379/0, rediss://..., unix:///path?db=0 or redis+sentinel://host:26379/service/0.",
        ) from error


def _check_database(rest: str) -> None:
    """Raise ValueError for a database that the client would pass over in silence, and take number 0 instead."""
    path = urlsplit(f"//{rest}").path.strip("/")
    if path and not path.isdecimal():
        raise ValueError(f"{path!r} is no database: they have numbers.")


def _sentinel_client(url: str, options: dict[str, Any]) -> redis.Redis:
    """``redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db][?sentinel_password=...]``"""
    parts = urlsplit(url)
    account, _, hosts = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not hosts or not service:
        raise ValueError("it names no sentinel or no service")
    query = dict(parse_qsl(parts.query))
    options = options | {"ssl": parts.scheme.startswith("rediss"), "db": int(database or 0)}
    options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    sentinel_options = {key: options[key] for key in ("socket_timeout", "socket_connect_timeout", "retry")}
    for key in ("username", "password"):
        if f"sentinel_{key}" in query:
            sentinel_options[key] = query[f"sentinel_{key}"]
    sentinel: Any = Sentinel(
        [_address(host) for host in hosts.split(",")], sentinel_kwargs=sentinel_options, **options
    )  # type: ignore[no-untyped-call]
    return cast("redis.Redis", sentinel.master_for(service))


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(SENTINEL_PORT)
    return host.strip("[]"), int(port)


def _brief(error: BaseException) -> str:
    text = re.sub(r",? script: \w+,? on @\S+$|\s+", " ", str(error)).strip() or type(error).__name__
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _is_read_only(error: Exception) -> bool:
    # A script's error has it in its words.
    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)


def _explain(error: Exception) -> tuple[str, str]:
    """What is wrong with the server, and what to do about it."""
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "OOM " in text:
        return "has no memory left", (
            "Raise Redis's maxmemory. Posted jobs are safe in the database, "
            "and are put on the board when there is room."
        )
    if isinstance(error, (AuthenticationError, NoPermissionError)) or "NOAUTH" in text or "NOPERM" in text:
        return (
            "does not let this account in",
            "Check user and password in board.url, and the account's permissions (ACL).",
        )
    if _is_read_only(error):
        return (
            "is a replica",
            "Point board.url at the primary, or at the sentinels: redis+sentinel://host:26379/service/0",
        )
    if isinstance(error, BusyLoadingError) or "LOADING" in text:
        return "is still loading its data", "Wait a moment; jobs are safe in the database."
    if "MISCONF" in text:
        return (
            "refuses writes since it cannot save to its disk",
            "See Redis's log, and free space on its disk.",
        )
    if isinstance(error, (AskError, ClusterDownError)):  # MOVED is one, too
        return (
            "is a cluster's node that does not hold the board",
            "Point board.url at the node that owns its slot.",
        )
    if isinstance(error, ResponseError):
        return "refused a call", "Is it Redis 6.2 or newer, or Valkey? `jobrunner doctor` checks it."
    return "is not available", (
        "Is Redis running, and does board.url fit? Jobs are safe in the database; `jobrunner doctor` checks all of it."
    )
