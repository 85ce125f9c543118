"""Keys of postings: which jobs have them, and whether a posting is the same as that of then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from jobrunner.errors import DuplicateKey, UsageError
from jobrunner.model import Posting
from jobrunner.names import is_name
from jobrunner.persistence.encoding import decode
from jobrunner.persistence.job_rows import dump, row_of_posting
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import jobs
from jobrunner.references import has_references

LOOKUP_BATCH = 500
KEY_LENGTH = 255


def jobs_by_key(database: Database, keys: Sequence[str]) -> dict[str, Any]:
    """What tells the jobs with these idempotency keys from others, by key."""
    found: dict[str, Any] = {}
    if not keys:
        return found
    columns = (
        jobs.c.id,
        jobs.c.type,
        jobs.c.parameters,
        jobs.c.factory,
        jobs.c.idempotency_key,
        jobs.c.from_results,
    )
    with database.read() as connection:
        for start in range(0, len(keys), LOOKUP_BATCH):
            wanted = jobs.c.idempotency_key.in_(keys[start : start + LOOKUP_BATCH])
            for row in connection.execute(sa.select(*columns).where(wanted)).mappings():
                found[row["idempotency_key"]] = row
    return found


def open_by_unique_key(database: Database, keys: Sequence[str]) -> dict[str | None, str]:
    """The ids of open jobs by their unique keys: a job loses its key when it ends."""
    found: dict[str | None, str] = {}
    if not keys:
        return found
    with database.read() as connection:
        for start in range(0, len(keys), LOOKUP_BATCH):
            wanted = jobs.c.unique_key.in_(keys[start : start + LOOKUP_BATCH])
            for row in connection.execute(sa.select(jobs.c.unique_key, jobs.c.id).where(wanted)):
                found[row.unique_key] = row.id
    return found


def key_problems(database: Database, postings: Mapping[int, Posting]) -> dict[int, str]:
    """Which of these postings, by their places, would be refused for their idempotency keys, and why.

    References to results are not compared: what they come to is not known yet, or is in the job of then.
    """
    keys = [posting.idempotency_key for posting in postings.values() if posting.idempotency_key]
    known = jobs_by_key(database, keys)
    among: dict[str, Any] = {}
    problems: dict[int, str] = {}
    for place, posting in postings.items():
        key = posting.idempotency_key
        if key is None:
            continue
        try:
            check_key(key)
            require_same(
                posting,
                {
                    **(known.get(key) or among.setdefault(key, row_of_posting(posting, 0))),
                    "from_results": 1,
                },
            )
        except DuplicateKey as error:
            in_both = f"The idempotency key {key!r} is that of an earlier one, too, which is another job."
            problems[place] = error.message if key in known else in_both
        except UsageError as error:
            problems[place] = error.message
    return problems


def check_key(key: str | None) -> None:
    """Raises UsageError for a key that cannot be kept."""
    if key is not None and not is_name(key, KEY_LENGTH):
        raise UsageError(
            f"The idempotency key {key[:KEY_LENGTH]!r} cannot be kept.",
            hint=f"Use 1 to {KEY_LENGTH} printable characters, and no blanks around them.",
        )


def require_same(posting: Posting, earlier: Any) -> None:
    """Raises DuplicateKey if the earlier job with the posting's key is another job."""
    what = f"The row of job {earlier['id']}"
    stored = (
        earlier["type"],
        decode(earlier["parameters"], what=what),
        decode(earlier["factory"], what=what),
    )
    given = _plain(posting.parameters)
    if earlier.get("from_results"):
        given = _with_results_of(stored[1], given)
    if stored != (posting.type, given, _plain(posting.factory)):
        other = " with other parameters" if earlier["type"] == posting.type else f", not {posting.type}"
        raise DuplicateKey(
            f"The idempotency key {posting.idempotency_key!r} was used before, for job {earlier['id']} "
            f"of type {earlier['type']}{other}.",
            hint="Use another key for another job.",
        )


def _with_results_of(stored: Any, given: Any) -> Any:
    """What is given now, with the results that the job of then got in place of references to them."""
    return {
        name: stored[name] if name in stored and has_references(value) else value
        for name, value in given.items()
    }


def _plain(value: Any) -> Any:
    return None if value is None else json.loads(dump(value))
