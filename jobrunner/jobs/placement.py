"""Where a posting goes first: to the node that it prefers, unless that takes no jobs now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobrunner.errors import InvalidParameters
from jobrunner.jobs.context import JobContext
from jobrunner.model import Posting
from jobrunner.persistence.nodes import Away, nodes_away


def check_placement(posting: Posting) -> None:
    """Raise InvalidParameters for a posting that is pinned to a node and prefers one."""
    if posting.node is not None and _preferred(posting) is not None:
        raise InvalidParameters(
            f"The job cannot be pinned to {posting.node!r} and prefer {_preferred(posting)!r} at the same time.",
            hint="Name a node (--node) on which alone it may run, or one that it prefers (--prefer).",
        )


def placed(context: JobContext, postings: Sequence[Posting], now_ms: int) -> Sequence[Posting]:
    """The postings, those that prefer a node for that node; one query if there are any.

    A node that is gone or drained is not waited for: whoever prefers it may run anywhere at once.
    """
    names = {name for name in map(_preferred, postings) if name is not None}
    if not names:
        return postings
    away = nodes_away(context.database, names)
    return [_placed(posting, away, now_ms) for posting in postings]


def _placed(posting: Posting, away: Mapping[str, Away], now_ms: int) -> Posting:
    placement = posting.policies.placement
    if posting.node is not None or placement is None or placement.prefer is None or placement.prefer in away:
        return posting
    waits_since = max(posting.available_ms or 0, now_ms)
    return replace(posting, node=placement.prefer, failover_ms=placement.failover_ms(waits_since))


def _preferred(posting: Posting) -> str | None:
    placement = posting.policies.placement
    return None if placement is None else placement.prefer
