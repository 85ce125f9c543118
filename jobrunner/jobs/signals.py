"""Telling a job something from outside: a signal, for which a task of its flow waits, or will."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobrunner.errors import UsageError
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.offering import offer
from jobrunner.model import Job, JobState, Json
from jobrunner.names import is_name
from jobrunner.persistence import signals
from jobrunner.plugins.json_limits import MAX_BYTES, check_json, check_size
from jobrunner.waits import check_name

KEY_LENGTH = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Signalled:
    """The outcome of a signal. ``new`` is false if the same was sent before, under its key.

    ``woken`` says that the job waited for it, and goes on; otherwise the signal waits for a task that asks for it.
    """

    state: JobState
    new: bool
    woken: bool


def signal(
    context: JobContext,
    job: Job,
    name: str,
    data: Json = None,
    *,
    key: str | None = None,
    author: str | None = None,
) -> Signalled:
    """Send a signal to a job that has not ended; it is safe in the database when this returns.

    Signals of one name are taken in the order in which they were sent, each once. With a ``key`` the same signal can be
    sent again without being there twice. Raises WrongState if the job has ended, InvalidParameters or PostingTooLarge
    if the data is not JSON of at most 256 KiB, UsageError for a bad name or key, DuplicateKey, TooManySignals.
    """
    check_name(name)
    _check_key(key)
    what = f"the data of the signal {name}"
    plain = check_json(data, what)
    check_size(plain, what)
    sent = signals.send(context.database, job.id, name, plain, key=key, author=author)
    if sent.woken is not None:
        offer(context, [sent.woken])
    return Signalled(state=sent.state, new=sent.new, woken=sent.woken is not None)


def pending(context: JobContext, job: Job) -> list[dict[str, Any]]:
    """The signals that no task of the job has taken, oldest first: ``name``, ``data``, ``at_ms``, ``author``."""
    return signals.pending(context.database, job.id)


def _check_key(key: object) -> None:
    if key is not None and not is_name(key, KEY_LENGTH):
        raise UsageError(
            f"{str(key)[:60]!r} cannot be the key of a signal.",
            hint=f"Use 1 to {KEY_LENGTH} printable characters, and no blanks around them.",
        )


__all__ = ["MAX_BYTES", "Signalled", "pending", "signal"]
