"""What a posting says of other jobs: those that it comes after, and results of theirs as its parameters."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobrunner.errors import UsageError
from jobrunner.model import After, Posting, When
from jobrunner.plugins.options import DESTINATION, REST, rest_parameter
from jobrunner.references import WRITTEN, Reference, has_references, replaced

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.plugins.registry import JobType


def linked(
    context: JobContext, posting: Posting, args: argparse.Namespace, places: Sequence[Sequence[int]] = ()
) -> Posting:
    """The posting with the links that ``--after`` asks for, and references to jobs rather than to what people wrote.

    :param places: for each part before this one the places of its jobs; raises UsageError for a part that is not there
    """
    from jobrunner.jobs import look

    ids = [look.find(context, prefix).id for prefix in _prefixes(args)]
    if args.when is not When.SUCCESS and not ids and not places:
        raise UsageError(
            "There is no job before this one, on whose end it could depend.",
            hint="Name it with --after ID, or leave --when and --on-failure out.",
        )

    def reference(found: Reference) -> Any:
        said = str(found.job).removeprefix("@")
        if len(said) >= 8:
            return Reference(look.find(context, said).id, found.path).to_json()
        if not 0 < int(said) <= len(places):
            raise UsageError(
                f"@{said} is no job before this one.",
                hint="@1 is the command's first job; @ID is any job. Write @@ for a value that begins with @.",
            )
        made = [Reference(place, found.path).to_json() for place in places[int(said) - 1]]
        return made[0] if len(made) == 1 else made

    return replace(
        posting,
        after=tuple(After(job=job_id, when=args.when) for job_id in dict.fromkeys(ids)),
        parameters=replaced(posting.parameters, reference),
    )


def take_references(args: argparse.Namespace, job_type: JobType) -> dict[str, Any]:
    """Take the options that refer to results out of the namespace: they are no values of their parameters' types yet.

    Raises nothing for what only looks like one: ``@@`` stands for an ``@`` there.
    """
    found: dict[str, Any] = {}
    rest = rest_parameter(job_type.parameters)
    for name in [name for name in vars(args) if name.startswith(DESTINATION)]:
        value = getattr(args, name)
        words = [_read(word) for word in (value if isinstance(value, list) else [value])]
        given = words if isinstance(value, list) else words[0]
        if any(isinstance(word, dict) for word in words):
            delattr(args, name)
            found[rest.name if name == REST and rest else name.removeprefix(DESTINATION)] = given
        else:
            setattr(args, name, given)
    return found


def referring(posting: Posting) -> Posting:
    """A posting of the classic form with references where texts in its store are written as such.

    Raises UsageError for one in what its factory is called with: results come into the store only.
    """
    factory = _in_texts(posting.factory, _read)
    if has_references(factory):
        raise UsageError(
            f"{posting.type} calls its flow's factory with what was given as a result of another job, and results "
            "come only into the store.",
            hint="Write @@ for a value that begins with @.",
        )
    return replace(posting, parameters=_in_texts(posting.parameters, _read), factory=factory)


def _in_texts(value: Any, read: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return read(value)
    if isinstance(value, Mapping):
        return {name: _in_texts(inner, read) for name, inner in value.items()}
    return [_in_texts(inner, read) for inner in value] if isinstance(value, (list, tuple)) else value


def _read(word: Any) -> Any:
    if not isinstance(word, str) or not word.startswith("@"):
        return word
    if word.startswith("@@"):
        return word[1:] if WRITTEN.fullmatch(word[1:]) else word
    match = WRITTEN.fullmatch(word)
    return word if match is None else Reference(f"@{match[1]}", match[2] or "").to_json()


def _prefixes(args: argparse.Namespace) -> list[str]:
    if not all(said.strip(" ,") for said in args.after):
        # Perhaps a script's variable that is empty: without its link the job would start at once.
        raise UsageError("--after names no job.", hint="Give the ids of jobs, or leave it out.")
    return [prefix.strip() for said in args.after for prefix in said.split(",") if prefix.strip()]
