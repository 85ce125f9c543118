"""``jobrunner node drain|undrain NAME``: take a machine out of service, and back."""

from __future__ import annotations

import argparse
from typing import Any

from jobrunner.cli import output
from jobrunner.cli.context import open_context
from jobrunner.cli.options import add_json
from jobrunner.errors import EXIT_OK

DRAIN = """\
Let a node take no more jobs, from now on and after restarts of its conductor. The jobs that it runs go on to their
ends; those that are pinned to it wait."""
UNDRAIN = "Let a drained node take jobs again."


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("node")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    drain = actions.add_parser("drain", help="let a node take no more jobs", description=DRAIN)
    undrain = actions.add_parser("undrain", help="let it take jobs again", description=UNDRAIN)
    for action in (drain, undrain):
        action.add_argument("name", metavar="NAME", help="the node's name, as `jobrunner nodes` tells it")
        add_json(action)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.jobs import nodes

    drained = args.action == "drain"
    with open_context(args) as context:
        (nodes.drain if drained else nodes.undrain)(context, args.name)
    if args.json:
        output.print_json({"name": args.name, "drained": drained})
    elif drained:
        output.say(f"node {args.name} takes no more jobs; those that it runs go on to their ends.")
    else:
        output.say(f"node {args.name} takes jobs again.")
    return EXIT_OK
