"""What is refused when it is posted: by programs and by the command line, in plain words, with nothing stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from jobrunner.errors import EXIT_USAGE, InvalidParameters, JobrunnerError
from jobrunner.jobs import jobsets, look, post
from jobrunner.jobs.context import JobContext
from jobrunner.model import Posting
from tests.acceptance.hostile.conftest import Place
from tests.acceptance.hostile.postings import COMMANDS, REFUSED
from tests.support.command_line import Done

LONGEST = 2000
"""Characters of a message: what a person reads, however much was posted."""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) >= 40
    assert len(COMMANDS) >= 40


def test_what_a_jobset_cannot_hold_is_refused_in_words(context: JobContext) -> None:
    with pytest.raises(InvalidParameters, match="the jobset cannot hold that"):
        jobsets.post_set(context, [Posting(type="echo")], holds=["db"])  # type: ignore[list-item]


@pytest.mark.parametrize("posting", REFUSED.values(), ids=REFUSED)
def test_a_program_is_told_and_nothing_is_stored(
    context: JobContext, place: Place, posting: dict[str, Any]
) -> None:
    with pytest.raises(JobrunnerError) as alone:
        post.post(context, Posting(**posting))
    with pytest.raises(JobrunnerError) as among_others:
        post.post_many(context, [Posting(type="echo"), Posting(**posting), Posting(type="echo")])
    for raised in (alone.value, among_others.value):
        assert raised.exit_code == EXIT_USAGE
        assert 0 < len(raised.message) < LONGEST
        assert not CONTROLS.search(raised.message)
    assert look.page(context)[0] == []
    assert not place.canary.exists()


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_person_is_told_and_nothing_is_stored(
    post_by_command: Callable[..., Done], place: Place, arguments: list[str]
) -> None:
    done = post_by_command(*arguments)
    assert (done.code, done.out) == (EXIT_USAGE, ""), done.err
    assert "jobrunner" in done.err
    assert 0 < len(done.err) < LONGEST
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    assert not CONTROLS.search(done.err)
    assert place.stored() == 0
    assert not place.canary.exists()


def test_the_honest_are_accepted(context: JobContext, place: Place) -> None:
    """Else refusing everything would do."""
    factory = {"name": "flows.hostile.targets:make_flow", "args": ["hear"], "kwargs": {}}
    for honest in (Posting(type="echo", parameters={"text": "x"}), Posting(type="announce", factory=factory)):
        post.check(context, honest)
        context.registry.get_type(honest.type).build(honest.parameters, honest.factory)
    assert not place.canary.exists()
