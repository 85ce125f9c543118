"""The second step of ``post``: the options of one job type."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, cast

from jobrunner.cli.options import Parser, add_common
from jobrunner.cli.post_options import add_post_options, reserved

if TYPE_CHECKING:
    from jobrunner.plugins.registry import JobType


def type_parser(job_type: JobType) -> argparse.ArgumentParser:
    """The parser for the type's options, among which those of ``post`` may stand."""
    parser = Parser(
        prog=f"jobrunner post {job_type.name}",
        usage="%(prog)s [options]",
        description=job_type.description,
    )
    group = parser.add_argument_group("options of the job")
    job_type.parameters.add_options(cast(argparse.ArgumentParser, group), reserved())
    add_post_options(parser, again=True)
    add_common(parser)
    return parser


def parse_type_options(
    args: argparse.Namespace, job_type: JobType, *, refers: bool = False
) -> dict[str, Any]:
    """Parse ``args.rest`` into ``args``; the raw parameters that were given.

    With ``refers``, or with ``--after``, values such as ``@1.port`` are results of other jobs (post_references.py).

    Raises InvalidParameters for JSON that cannot be read, and for what was given twice.
    """
    type_parser(job_type).parse_args(args.rest, args)
    if not refers and not args.after:
        return job_type.parameters.from_namespace(args)
    from jobrunner.cli.post_references import take_references

    references = take_references(args, job_type)
    return job_type.parameters.from_namespace(args) | references
