"""``jobrunner post TYPE [options]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output, text
from jobrunner.cli.context import load_registry, open_context
from jobrunner.cli.options import empty_namespace
from jobrunner.cli.post_options import TypeAndRest, add_post_options, adjusted, label
from jobrunner.cli.post_type import parse_type_options
from jobrunner.errors import EXIT_OK, JobrunnerError, UsageError
from jobrunner.model import JOB_ID, Posting

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.jobs.post import Posted
    from jobrunner.plugins.registry import JobType, Registry

DESCRIPTION = """\
Post a job of a registered type, and print its id.

The options below can stand before or after the job type's own; `jobrunner post TYPE --help` tells both. A posted job
is safe in the database, whether or not a conductor runs.

With --then several jobs are posted as one jobset, each after the one before it.
"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "post",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        usage="%(prog)s [options] TYPE [options of TYPE] [--then [options] TYPE ...]...\n"
        "       %(prog)s [options] --file FILE [--jobset NAME]",
    )
    parser.add_argument(
        "-h", "--help", action=_HelpWithTypes, help="show this help, with the job types, and exit"
    )
    type_ = parser.add_argument(
        "type",
        metavar="TYPE",
        nargs=argparse.PARSER,
        action=TypeAndRest,
        help="the job type (`jobrunner types` lists them), and its options",
    )
    type_.required = False  # with --file
    parser.add_argument(
        "--file", metavar="FILE", help="post the jobs of a file, each a JSON object in a line; - is stdin"
    )
    parser.add_argument(
        "--jobset", type=label, metavar="NAME", help="post the jobs as one jobset of this name"
    )
    add_post_options(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    if args.file is not None:
        from jobrunner.cli.post_file import post_file

        return post_file(args)
    if args.type is None:
        raise UsageError(
            "Say which job is to be posted: jobrunner post TYPE",
            hint="`jobrunner types` lists them; `jobrunner post --help` tells the rest.",
        )
    from jobrunner.cli.post_chain import THEN, Part, not_several, parse_parts, post_chain
    from jobrunner.cli.post_references import linked

    job_type = load_registry(args).get_type(args.type)
    if THEN in args.rest or (job_type.is_classic and (args.on or args.jobset)):
        return post_chain(args, parse_parts(args, job_type))
    if job_type.is_classic:
        from jobrunner.cli.post_classic import post_classic

        return post_classic(args, job_type)
    raw = parse_type_options(args, job_type)
    posting = adjusted(Posting(type=job_type.name, parameters=raw), args, job_type)
    if args.on or args.jobset:
        return post_chain(args, [Part(args=args, postings=[posting])])
    if args.set_hold:
        raise not_several()
    if args.hierarchy:
        print_flow(job_type, posting, args.hierarchy)
        return EXIT_OK
    from jobrunner.jobs import post

    with open_context(args) as context:
        return finish(context, [post.post(context, linked(context, posting, args))], args)


def print_flow(job_type: JobType, posting: Posting, form: str) -> None:
    """The flow that the posting would run, drawn; raises InvalidParameters, or InvalidFlow if it could not run."""
    from jobrunner.plugins import check_flow, render
    from jobrunner.plugins.importing import stdout_to_stderr

    accepted = job_type.accept(posting)
    with stdout_to_stderr():
        flow = job_type.build(accepted.parameters, accepted.factory)
    check_flow(flow, [JOB_ID, *job_type.store(accepted.parameters)])
    sys.stdout.write(render(flow, form))


def finish(context: JobContext, posted: Sequence[Posted], args: argparse.Namespace) -> int:
    """Print the ids, and wait if that is asked for; the exit code."""
    from jobrunner.cli.posted import follow_all

    try:
        _announce(context, posted, args)
        return follow_all(context, posted, args) if args.wait or args.follow else EXIT_OK
    except KeyboardInterrupt:
        ids = " ".join(one.job_id[:8] for one in posted)
        output.say(f"interrupted, but the job is posted and goes on. `jobrunner cancel {ids}` cancels it.")
        raise


def _announce(context: JobContext, posted: Sequence[Posted], args: argparse.Namespace) -> None:
    from jobrunner.cli.posted import announce

    try:
        announce(context, posted, args)
    except OSError:  # nobody reads stdout, or there is no room: a person should have the id all the same
        output.say(f"posted, though that cannot be printed: {' '.join(one.job_id for one in posted)}")
        raise


class _HelpWithTypes(argparse.Action):
    """Help, and below it the job types that are registered now, and the plugins that did not load."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        parser.print_help()
        args = empty_namespace()
        vars(args).update(vars(namespace))
        try:
            print(types_help(load_registry(args)))
        except JobrunnerError as error:
            output.say_error(error)
        parser.exit()


def types_help(registry: Registry) -> str:
    """The registered types with a line each, and the plugins that did not load."""
    from jobrunner.cli.job_types import problem_line

    names = sorted(registry.job_types)
    width = max((len(name) for name in names), default=0)
    lines = ["", "job types:"]
    lines += [
        f"  {name:<{width}}  {text.clean(registry.job_types[name].description)}".rstrip() for name in names
    ]
    if not names:
        lines.append("  none; `jobrunner new GROUP/JOB` makes the skeleton of one")
    if registry.problems:
        lines += ["", "plugins that could not be loaded (`jobrunner doctor` tells more):"]
        lines += [problem_line(problem) for problem in registry.problems]
    return "\n".join(lines)
