"""``post A ... --then B ...`` and ``post A --on ...``: several jobs as one jobset.

The words are split at each ``--then`` before anything is parsed; each part has a job type, its options, and options of
``post`` that hold for its own job. What the command as a whole does (``--wait``, ``--follow``, ``--json``) may be said
in any part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jobrunner.cli.context import load_registry, open_context
from jobrunner.cli.options import COMMON, Parser, add_common, empty_namespace
from jobrunner.cli.post_options import SPELLED_OUT, TypeAndRest, add_post_options, adjusted
from jobrunner.cli.post_type import parse_type_options
from jobrunner.errors import UsageError
from jobrunner.model import After, Posting
from jobrunner.plugins.options import DESTINATION, REST, rest_parameter
from jobrunner.references import WRITTEN, Reference, replaced

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.plugins.registry import JobType, Registry

THEN = "--then"
_WHOLE = ("wait", "follow", "json")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What was said between two ``--then``: one job type and its options."""

    args: argparse.Namespace
    posting: Posting


def post_chain(args: argparse.Namespace, only: Part | None = None) -> int:
    """Post the jobs of all parts, or of the ``only`` one, as one jobset; the exit code."""
    from jobrunner.cli.posted import finish_set
    from jobrunner.jobs.jobsets import post_set

    parts = parse_parts(args) if only is None else [only]
    for name in _WHOLE:
        setattr(args, name, any(getattr(part.args, name) for part in parts))
    if any(part.args.hierarchy for part in parts):
        raise UsageError("--hierarchy draws one flow.", hint="Ask for it without --then and --on.")
    with open_context(args) as context:
        postings = postings_of(context, parts)
        posted = post_set(context, postings, author=parts[0].posting.author, sound=True)
        return finish_set(context, posted, args)


def parse_parts(args: argparse.Namespace) -> list[Part]:
    """All parts of the command, parsed; raises what is wrong with their options."""
    registry = load_registry(args)
    first, *others = split(args.rest)
    args.rest = first
    parts = [_part(registry, args, 0)]
    return parts + [_part(registry, _namespace(args, words), place) for place, words in enumerate(others, 1)]


def split(words: Sequence[str]) -> list[list[str]]:
    """The words of each part; also those behind a ``--``, since chains of other programs are what people write."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == THEN:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def postings_of(context: JobContext, parts: Sequence[Part]) -> list[Posting]:
    """The postings of all parts, linked by their places: each job of a part after all of the part before."""
    from jobrunner.jobs.fan_out import on_nodes

    postings: list[Posting] = []
    places: list[list[int]] = []
    for part in parts:
        posting = linked(context, part.posting, part.args, places)
        before = tuple(After(job=place, when=part.args.when) for place in (places[-1] if places else ()))
        posting = replace(posting, after=(*before, *posting.after))
        made = on_nodes(context, posting, _targets(part.args)) if part.args.on else [posting]
        places.append(list(range(len(postings), len(postings) + len(made))))
        postings += made
    return postings


def linked(
    context: JobContext, posting: Posting, args: argparse.Namespace, places: Sequence[Sequence[int]] = ()
) -> Posting:
    """The posting with the links that ``--after`` asks for, and references to jobs rather than to what people wrote.

    :param places: for each part before this one the places of its jobs; raises UsageError for a part that is not there
    """
    from jobrunner.jobs import look

    ids = [look.find(context, prefix).id for prefix in _prefixes(args)]

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


def _read(word: Any) -> Any:
    if not isinstance(word, str) or not word.startswith("@"):
        return word
    if word.startswith("@@"):
        return word[1:] if WRITTEN.fullmatch(word[1:]) else word
    match = WRITTEN.fullmatch(word)
    return word if match is None else Reference(f"@{match[1]}", match[2] or "").to_json()


def _part(registry: Registry, args: argparse.Namespace, number: int) -> Part:
    job_type = registry.get_type(args.type)
    if job_type.is_classic:
        raise not_in_a_set(job_type)
    raw = parse_type_options(args, job_type, refers=number > 0)
    return Part(
        args=args,
        posting=adjusted(Posting(type=job_type.name, parameters=raw), args, job_type),
    )


def not_in_a_set(job_type: JobType) -> UsageError:
    return UsageError(
        f"{job_type.name} is of the classic form: it posts by itself, so --then and --on cannot be used with it.",
        hint="Post it alone; others can come after it: --after ID.",
    )


def _namespace(first: argparse.Namespace, words: Sequence[str]) -> argparse.Namespace:
    """A further part, parsed as the command is: options of ``post``, a type, and the rest."""
    parser = Parser(prog="jobrunner post ... --then", usage="%(prog)s [options] TYPE [options of TYPE]")
    parser.add_argument("type", metavar="TYPE", nargs=argparse.PARSER, action=TypeAndRest)
    add_post_options(parser)
    add_common(parser)
    part = empty_namespace()
    for names, _ in COMMON:
        name = names[-1].lstrip("-").replace("-", "_")
        setattr(part, name, getattr(first, name))
    parser.parse_args([SPELLED_OUT if word == "--hierarchy" else word for word in words], part)
    return part


def _targets(args: argparse.Namespace) -> list[str]:
    if args.node:
        raise UsageError("--node and --on contradict each other.", hint="--on names the nodes, too.")
    return [target.strip() for said in args.on for target in said.split(",") if target.strip()]


def _prefixes(args: argparse.Namespace) -> list[str]:
    return [prefix.strip() for said in args.after for prefix in said.split(",") if prefix.strip()]
