"""What goes with a posting besides its parameters: type, node, times, properties ... are what they should be.

Parameters are the job type's own to check. The rest is the same for all types, and comes from as far away: it is
checked here before anything is looked up by it or stored. Texts are short and have no control characters, so that every
database can hold them and every terminal can show them; numbers fit their columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jobrunner.errors import InvalidParameters
from jobrunner.model import After, Posting, Priority, When
from jobrunner.names import is_line
from jobrunner.plugins.holds import check_hold
from jobrunner.plugins.json_limits import check_json, check_size, shorten
from jobrunner.policies import NO_POLICIES, Placement, Policies
from jobrunner.times import LAST_MS, LONGEST_S

TEXT_LIMIT = 255
"""Characters; what the columns hold."""
CAPABILITIES_LIMIT = 100
HOLDS_LIMIT = 20
AFTER_LIMIT = 10_000


def check_envelope(posting: Posting) -> Posting:
    """The posting, with its properties as they are stored; raises InvalidParameters or PostingTooLarge."""
    _require(isinstance(posting.type, str), "the job type", posting.type, "text")
    _require(
        posting.jobset_id is None, "the jobset", posting.jobset_id, "left out: `post_set` posts jobs as a set"
    )
    for what, values in (("the parameters", posting.parameters), ("the properties", posting.properties)):
        _require(isinstance(values, Mapping), what, values, "named values")
    for what, text in (("the node", posting.node), ("the author", posting.author)):
        _require(text is None or is_line(text, TEXT_LIMIT), what, text, _SHORT)
    key = posting.idempotency_key  # what it may hold is the store's to say
    _require(key is None or isinstance(key, str), "the idempotency key", key, "text")
    _check_capabilities(posting.capabilities)
    _check_numbers(posting)
    _require(isinstance(posting.policies, Policies), "the policies", posting.policies, "Policies")
    _check_holds(posting.policies.holds)
    _check_placement(posting.policies.placement)
    _check_policies(posting.policies)
    if posting.after:
        check_after(posting.after)
    return replace(posting, properties=_properties(posting.properties)) if posting.properties else posting


def check_line(what: str, text: Any) -> None:
    """Raise InvalidParameters unless it is None or a short text."""
    _require(text is None or is_line(text, TEXT_LIMIT), what, text, _SHORT)


def check_after(after: Any) -> tuple[After, ...]:
    """The links, if they can be a posting's; else InvalidParameters."""
    few = isinstance(after, (tuple, list)) and len(after) <= AFTER_LIMIT
    _require(few, "the jobs to come after", after, f"a list of at most {AFTER_LIMIT:,}")
    for one in after:
        fine = isinstance(one, After) and isinstance(one.when, When)
        _require(fine, "a job to come after", one, "a job's id, or a posting's place, with a condition")
        by_place = isinstance(one.job, int) and not isinstance(one.job, bool)
        _require(by_place or _is_id(one.job), "a job to come after", one.job, "a job's id")
    return tuple(after)


def _is_id(text: Any) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def _check_capabilities(names: Any) -> None:
    few = isinstance(names, (tuple, list)) and len(names) <= CAPABILITIES_LIMIT
    _require(few, "the capabilities", names, f"a list of at most {CAPABILITIES_LIMIT} names")
    for name in names:
        _require(is_line(name, TEXT_LIMIT), "a capability", name, _SHORT)


def _check_numbers(posting: Posting) -> None:
    given: tuple[Any, Any, Any] = (posting.priority, posting.available_ms, posting.timeout)
    priority, at_ms, seconds = given
    known = priority is None or (isinstance(priority, int) and priority in _PRIORITIES)
    _require(known, "the priority", priority, _ONE_OF_THEM)
    fits = at_ms is None or (isinstance(at_ms, int) and 0 <= at_ms <= LAST_MS)
    _require(fits, "the time to start at", at_ms, "milliseconds since 1970, before the year 10000")
    lasts = seconds is None or (isinstance(seconds, (int, float)) and 0 <= seconds <= LONGEST_S)
    _require(lasts, "the time limit", seconds, _SECONDS)
    _check_expiry(posting)


def _check_policies(policies: Policies) -> None:
    """They are read again by whoever runs the job, so they have to come through as they are."""
    if policies == NO_POLICIES:
        return
    plain = _plain_policies(policies)
    _require(plain is not None, "the policies", policies, "policies whose values are what they should be")
    check_size(plain, "the posting's policies")


def _plain_policies(policies: Policies) -> Any:
    """Policies as JSON; None if they do not come back from that as they are."""
    try:
        plain = policies.to_json()
        return plain if Policies.from_json(check_json(plain, "the posting's policies")) == policies else None
    except (ValueError, TypeError, AttributeError):
        return None


def _check_expiry(posting: Posting) -> None:
    expires_ms: Any = posting.expires_ms
    fits = expires_ms is None or (isinstance(expires_ms, int) and 0 <= expires_ms <= LAST_MS)
    _require(fits, "the time to expire at", expires_ms, "milliseconds since 1970, before the year 10000")
    if expires_ms is not None and expires_ms <= (posting.available_ms or 0):
        raise InvalidParameters(
            "The job would expire before it may start.",
            hint="Let it expire later than the time to start at, or leave one of them out.",
        )


def _check_holds(holds: Any) -> None:
    few = isinstance(holds, (tuple, list)) and len(holds) <= HOLDS_LIMIT
    _require(few, "the semaphores to hold", holds, f"a list of at most {HOLDS_LIMIT}")
    for hold in holds:
        try:
            check_hold(hold)
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidParameters(f"a semaphore to hold: {error}") from None


def _check_placement(placement: Placement | None) -> None:
    if placement is None:
        return
    prefer, seconds = placement.prefer, placement.failover
    _require(prefer is None or is_line(prefer, TEXT_LIMIT), "the preferred node", prefer, _SHORT)
    _require(0 <= seconds <= LONGEST_S, "the time to wait for the preferred node", seconds, _SECONDS)


def _properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = check_json(properties, "the posting's properties")
    check_size(plain, "the posting's properties")
    return plain


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PRIORITIES = frozenset(int(level) for level in Priority)
_ONE_OF_THEM = f"one of {', '.join(map(str, sorted(_PRIORITIES)))}"
_SECONDS = f"0 to {LONGEST_S:,} seconds"
_SHORT = f"1 to {TEXT_LIMIT} printable characters"


def _require(fine: bool, what: str, found: object, expected: str) -> None:
    if not fine:
        raise InvalidParameters(f"{shorten(found)} cannot be {what}: it has to be {expected}")
