"""The options that ``post`` has for every job type, and what they make of a posting."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output
from jobrunner.cli.life_options import CRITICAL, add_retry_options, add_when_options, policies_of, when_of
from jobrunner.cli.link_options import add_link_options
from jobrunner.cli.options import COMMON, assignment, duration, some_time
from jobrunner.cli.post_limits import add_limit_options, limits_of
from jobrunner.errors import UsageError
from jobrunner.model import Posting, Priority
from jobrunner.names import is_line
from jobrunner.policies import Hold, Placement

if TYPE_CHECKING:
    from jobrunner.plugins.registry import JobType

FORMS = ("tree", "dot", "mermaid", "svg")
LABEL_LIMIT = 255
"""Characters; what the columns hold."""


class TypeAndRest(argparse.Action):
    """Takes the type and all that follows it, a ``--`` as well: that one is the job type's."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None) -> None:
        namespace.type, *namespace.rest = values


def label(text: str) -> str:
    """A short text in one line."""
    if not is_line(text, LABEL_LIMIT):
        raise argparse.ArgumentTypeError(f"it has to be 1 to {LABEL_LIMIT} printable characters")
    return text


def priority(text: str) -> Priority | str:
    """A priority by its name, as people write it; or ``critical``."""
    if text.strip().lower() == CRITICAL:
        return CRITICAL
    try:
        return Priority[text.strip().upper().replace("-", "_")]
    except KeyError:
        names = ", ".join([CRITICAL, *(level.name.lower().replace("_", "-") for level in Priority)])
        raise argparse.ArgumentTypeError(f"{text!r} is no priority; there are {names}") from None


def hold(text: str) -> Hold:
    """A semaphore to hold."""
    from jobrunner.plugins.holds import parse_hold

    try:
        return parse_hold(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_post_options(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add them; ``again`` for a second parser that goes on with the first one's namespace."""
    group = parser.add_argument_group("options of post")
    default: dict[str, Any] = {"default": argparse.SUPPRESS} if again else {}
    collected: dict[str, Any] = {"action": "append", "default": argparse.SUPPRESS if again else []}
    _add_ways(group, default)
    _add_places(group, default)
    add_when_options(group, default)
    add_retry_options(group, default)
    group.add_argument(
        "--timeout", type=some_time, metavar="TIME", help="end the job if it runs for longer", **default
    )
    add_limit_options(group, default)
    _add_needs(group, collected)
    _add_marks(group, default, collected)
    add_link_options(group, default, collected)
    group.add_argument("--json", action="store_true", help="print the job as JSON", **default)


def _add_ways(group: Any, default: dict[str, Any]) -> None:
    group.add_argument(
        "--wait", action="store_true", help="wait until the job has ended; 1 if it failed", **default
    )
    group.add_argument(
        "--follow", action="store_true", help="wait, and show its output and its atoms on stderr meanwhile", **default
    )  # fmt: skip
    group.add_argument(
        "--hierarchy", nargs="?", const="tree", choices=FORMS, metavar="FORM", **default,
        help=f"print the flow rather than post it; --hierarchy=FORM draws it as {', '.join(FORMS)}",
    )  # fmt: skip


def _add_places(group: Any, default: dict[str, Any]) -> None:
    group.add_argument(
        "--priority", type=priority, metavar="LEVEL",
        help="very-high, high, normal, low or very-low; or critical, see there", **default,
    )  # fmt: skip
    group.add_argument("--node", type=label, metavar="NAME", help="run it on this node only", **default)
    group.add_argument(
        "--prefer", type=label, metavar="NAME", help="run it on this node first, elsewhere after a time", **default
    )  # fmt: skip
    group.add_argument(
        "--failover", type=duration, metavar="TIME", help="wait so long for the preferred node (default: 60s)",
        **default,
    )  # fmt: skip


def _add_needs(group: Any, collected: dict[str, Any]) -> None:
    group.add_argument(
        "--capability", metavar="NAME", help="run it only where this capability is met", **collected
    )
    group.add_argument(
        "--hold", type=hold, metavar="NAME[:N|:shared]",
        help="run it only while it holds this semaphore: one unit, N of them, or a share", **collected,
    )  # fmt: skip
    group.add_argument(
        "--set-hold", type=hold, metavar="NAME[:N|:shared]",
        help="with --then or --on: all the jobs hold it together, from first start to last end", **collected,
    )  # fmt: skip


def _add_marks(group: Any, default: dict[str, Any], collected: dict[str, Any]) -> None:
    group.add_argument(
        "--key", type=label, metavar="KEY", help="post it once: the same key gives the same job again", **default
    )  # fmt: skip
    group.add_argument(
        "--tag", type=assignment, metavar="NAME=VALUE", help="keep this property with the job", **collected
    )
    group.add_argument("--author", type=label, metavar="NAME", help="who posts it (default: you)", **default)


def reserved() -> frozenset[str]:
    """The names that no parameter's option can have."""
    parser = argparse.ArgumentParser()
    add_post_options(parser)
    return frozenset([*parser._option_string_actions, *(name for names, _ in COMMON for name in names)])


def adjusted(posting: Posting, args: argparse.Namespace, job_type: JobType) -> Posting:
    """The posting with what the command's options say; how its times were taken is told on stderr if not plain."""
    holds = {one.name: one for one in (*posting.policies.holds, *args.hold)}
    when = when_of(args)
    for note in when.notes:
        output.say(note)
    return replace(
        posting,
        capabilities=tuple(dict.fromkeys([*posting.capabilities, *args.capability])),
        node=args.node,
        priority=args.priority if isinstance(args.priority, Priority) else None,
        available_ms=when.available_ms,
        expires_ms=when.expires_ms,
        idempotency_key=args.key,
        properties={**posting.properties, **_tags(args)},
        timeout=args.timeout,
        policies=replace(
            policies_of(args, job_type.policies).over(posting.policies),
            holds=tuple(holds.values()),
            placement=_placement(posting, job_type, args),
            run=limits_of(args) or posting.policies.run,
        ),
        author=args.author or user(),
    )


def _placement(posting: Posting, job_type: JobType, args: argparse.Namespace) -> Placement | None:
    given = posting.policies.placement if args.prefer is None else Placement(prefer=args.prefer)
    if args.failover is None:
        return given
    preferred = given or job_type.policies.placement
    if preferred is None or preferred.prefer is None:
        raise UsageError("--failover is for a job that prefers a node.", hint="Name it: --prefer NAME")
    return replace(preferred, failover=args.failover)


def _tags(args: argparse.Namespace) -> Mapping[str, str]:
    return dict(args.tag)


def user() -> str | None:
    """The name of whoever types; None if there is none."""
    import getpass

    try:
        return getpass.getuser()[:LABEL_LIMIT]
    except (KeyError, OSError):  # a user without a name, as in some containers
        return None
