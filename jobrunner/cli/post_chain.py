"""``post A ... --then B ...`` and ``post A --on ...``: several jobs as one jobset.

The words are split at each ``--then`` before anything is parsed; each part has a job type, its options, and options of
``post`` that hold for its own job. What the command as a whole does (``--wait``, ``--follow``, ``--json``) may be said
in any part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobrunner.cli import output
from jobrunner.cli.context import load_registry, open_context
from jobrunner.cli.options import COMMON, SPELLED_OUT, Parser, add_common, empty_namespace
from jobrunner.cli.post_options import TypeAndRest, add_post_options, adjusted
from jobrunner.cli.post_references import linked
from jobrunner.cli.post_type import parse_type_options
from jobrunner.errors import UsageError
from jobrunner.model import After, Posting

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.persistence.nodes import Away
    from jobrunner.plugins.registry import JobType, Registry

THEN = "--then"
_WHOLE = ("wait", "follow", "json")


@dataclass(frozen=True, kw_only=True)
class Part:
    """What was said between two ``--then``: one job type and its options."""

    args: argparse.Namespace
    postings: Sequence[Posting]
    """One, unless the type is of the classic form, whose function may post several."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The postings of a jobset, and the nodes that get none of them although they were meant."""

    postings: list[Posting] = field(default_factory=list)
    left_out: dict[str, Away] = field(default_factory=dict)
    drained: dict[str, None] = field(default_factory=dict)
    """Nodes, as in an ordered set, whose jobs wait until they take jobs again."""


def post_chain(args: argparse.Namespace, parts: Sequence[Part]) -> int:
    """Post the jobs of all parts as one jobset; the exit code."""
    from jobrunner.cli.posted import finish_set
    from jobrunner.jobs.jobsets import post_set

    for name in _WHOLE:
        setattr(args, name, any(getattr(part.args, name) for part in parts))
    if any(part.args.hierarchy for part in parts):
        raise UsageError("--hierarchy draws one flow.", hint="Ask for it without --then and --on.")
    with open_context(args) as context:
        chain = chain_of(context, parts)
        author = parts[0].postings[0].author
        holds = [hold for part in parts for hold in part.args.set_hold]
        posted = post_set(context, chain.postings, name=args.jobset, author=author, holds=holds, sound=True)
        _tell_of_nodes(chain)
        return finish_set(context, posted, args, left_out=chain.left_out)


def parse_parts(args: argparse.Namespace, job_type: JobType) -> list[Part]:
    """All parts of the command, of which the first is of this type; raises what is wrong with their options."""
    registry = load_registry(args)
    first, *others = split(args.rest)
    args.rest = first
    return [_part(job_type, args), *(_further_part(registry, args, words) for words in others)]


def split(words: Sequence[str]) -> list[list[str]]:
    """The words of each part; also those behind a ``--``, since chains of other programs are what people write."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == THEN:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def chain_of(context: JobContext, parts: Sequence[Part]) -> Chain:
    """The postings of all parts, linked by their places: each job of a part after all of the part before."""
    chain = Chain()
    places: list[list[int]] = []
    for part in parts:
        begin = len(chain.postings)
        for asked in part.postings:
            posting = linked(context, asked, part.args, places)
            before = tuple(After(job=place, when=part.args.when) for place in (places[-1] if places else ()))
            _add(context, chain, replace(posting, after=(*before, *posting.after)), part.args)
        places.append(list(range(begin, len(chain.postings))))
    return chain


def _add(context: JobContext, chain: Chain, posting: Posting, args: argparse.Namespace) -> None:
    """Add a posting to a chain, for each of the nodes that it is for."""
    if not args.on:
        chain.postings.append(posting)
        return
    from jobrunner.jobs.fan_out import on_nodes

    made = on_nodes(context, posting, _targets(args))
    chain.postings.extend(made.postings)
    chain.left_out.update(made.left_out)
    chain.drained.update(dict.fromkeys(made.drained))


def _tell_of_nodes(chain: Chain) -> None:
    if chain.left_out:
        from jobrunner.jobs.fan_out import in_words

        output.say(f"left out, as they take no jobs now: {in_words(chain.left_out)}.")
    if chain.drained:
        names = ", ".join(chain.drained)
        output.say(f"drained, so that jobs wait there: {names}. `jobrunner node undrain NAME` lets them run.")


def _part(job_type: JobType, args: argparse.Namespace, *, further: bool = False) -> Part:
    if job_type.is_classic:
        from jobrunner.cli.post_classic import asked_for

        return Part(args=args, postings=asked_for(args, job_type, refers=further or bool(args.after)))
    raw = parse_type_options(args, job_type, refers=further)
    posting = adjusted(Posting(type=job_type.name, parameters=raw), args, job_type)
    return Part(args=args, postings=[posting])


def not_several() -> UsageError:
    return UsageError(
        "--set-hold is for several jobs, of --then or --on.", hint="A single job holds it itself: --hold."
    )


def _further_part(registry: Registry, first: argparse.Namespace, words: Sequence[str]) -> Part:
    """A part after the first, parsed as the command is: options of ``post``, a type, and the rest."""
    parser = Parser(prog="jobrunner post ... --then", usage="%(prog)s [options] TYPE [options of TYPE]")
    parser.add_argument("type", metavar="TYPE", nargs=argparse.PARSER, action=TypeAndRest)
    add_post_options(parser)
    add_common(parser)
    part = empty_namespace()
    for names, _ in COMMON:
        name = names[-1].lstrip("-").replace("-", "_")
        setattr(part, name, getattr(first, name))
    parser.parse_args([SPELLED_OUT if word == "--hierarchy" else word for word in words], part)
    return _part(registry.get_type(part.type), part, further=True)


def _targets(args: argparse.Namespace) -> list[str]:
    if args.node:
        raise UsageError("--node and --on contradict each other.", hint="--on names the nodes, too.")
    targets = [target.strip() for said in args.on for target in said.split(",") if target.strip()]
    if not targets:
        raise UsageError("--on names no node.", hint="Give nodes' names, label=LABEL, or all.")
    return targets
