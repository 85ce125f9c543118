"""Posting a great many jobs: all are checked before the first is posted, then they are posted in batches.

The postings name one another by their places among all of them, as those of a jobset do. What was posted when something
fails in the middle stays posted; postings with idempotency keys can all be posted again then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from jobrunner.errors import InvalidParameters, JobrunnerError, StoreUnavailable
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.post import Posted, check, post_many
from jobrunner.model import After, Posting
from jobrunner.references import Reference, has_references, references, replaced

BATCH = 500


def check_all(context: JobContext, postings: Sequence[Posting]) -> dict[int, str]:
    """What is wrong with these postings, by their places; nothing is if it is empty.

    Besides what is checked of each: whether their keys were used for other jobs, before or among themselves, whether
    those that they come after are there, and whether a flow of each type compiles.
    """
    problems: dict[int, str] = {}
    accepted: dict[int, Posting] = {}
    for place, posting in enumerate(postings):
        try:
            _check_places(posting, place)
            accepted[place] = check(context, posting)
        except StoreUnavailable:
            raise
        except JobrunnerError as error:
            problems[place] = in_words(error)
    problems |= context.store.key_problems(accepted)
    problems |= _missing(context, accepted)
    return problems | _unsound(context, accepted)


def post_in_batches(
    context: JobContext, postings: Sequence[Posting], *, batch: int = BATCH
) -> Iterator[list[Posted]]:
    """Post them, so many in a transaction; what became of each batch, once it is committed.

    Raises what ``post_many`` raises.
    """
    ids: list[str] = []
    for start in range(0, len(postings), batch):
        some = [_within(posting, start, ids) for posting in postings[start : start + batch]]
        posted = post_many(context, some)
        ids += [one.job_id for one in posted]
        yield posted


def in_words(error: JobrunnerError) -> str:
    """An error in a line, with what to do about it."""
    return " ".join([*error.message.splitlines(), *([f"({error.hint})"] if error.hint else [])])


def _within(posting: Posting, start: int, ids: Sequence[str]) -> Posting:
    """The posting as one of a batch: with ids in place of places in batches before it."""

    def job(named: str | int) -> str | int:
        if isinstance(named, str):
            return named
        return named - start if named >= start else ids[named]

    if not posting.after and not has_references(posting.parameters):
        return posting
    return replace(
        posting,
        after=tuple(After(job=job(one.job), when=one.when) for one in posting.after),
        parameters=replaced(
            posting.parameters, lambda found: Reference(job(found.job), found.path).to_json()
        ),
    )


def _check_places(posting: Posting, place: int) -> None:
    named = [one.job for one in posting.after]
    for job in [*named, *(found.job for value in posting.parameters.values() for found in references(value))]:
        if isinstance(job, int) and not 0 <= job < place:
            raise InvalidParameters("a job can come only after those before it")


def _missing(context: JobContext, accepted: dict[int, Posting]) -> dict[int, str]:
    named = {one.job for posting in accepted.values() for one in posting.after if isinstance(one.job, str)}
    gone = named - set(context.store.states(sorted(named))) if named else set()
    return {
        place: f"There is no job {one.job} for it to come after."
        for place, posting in accepted.items()
        for one in posting.after
        if one.job in gone
    }


def _unsound(context: JobContext, accepted: dict[int, Posting]) -> dict[int, str]:
    """Compiling takes longer than posting, so it is done for one job of each type; the others fail when they run."""
    problems: dict[int, str] = {}
    seen: set[str] = set()
    for place, posting in accepted.items():
        if posting.type in seen or has_references(posting.parameters):
            continue
        seen.add(posting.type)
        try:
            context.registry.get_type(posting.type).require_sound(posting.parameters, posting.factory)
        except JobrunnerError as error:
            problems[place] = in_words(error)
    return problems
