"""Many jobs at once: all are checked before the first is posted, and batches go on from one another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobrunner.cli import main
from jobrunner.cli.options import empty_namespace
from jobrunner.cli.post_file import Lines, read_lines
from jobrunner.errors import DuplicateKey
from jobrunner.jobs.many import check_all, post_in_batches
from jobrunner.model import After, JobState, Posting, Priority, When, new_job_id
from jobrunner.persistence.store import JobFilter
from tests.support.conductors import Cluster


def give(cluster: Cluster, *first: int, **posting: Any) -> Posting:
    parameters = {"evidence": str(cluster.evidence_path), **posting.pop("parameters", {})}
    after = tuple(After(job=place) for place in first)
    return Posting(**{"type": "give", "parameters": parameters, "after": after, **posting})


def read(cluster: Cluster, *said: Any, options: str = "") -> Lines:
    args = empty_namespace()
    main.build_parser().parse_args(["post", *options.split(), "--file", "-"], args)
    content = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in said)
    return read_lines(cluster.context, args, content)


# Postings


def test_batches_go_on_from_one_another(embedded: Cluster) -> None:
    """A chain over three batches: links and references lead back into earlier ones."""
    chain = [give(embedded, idempotency_key="k0")]
    for place in range(5):
        number = {"$result": place, "path": "number_more"}
        chain.append(give(embedded, 0, parameters={"number": number}, idempotency_key=f"k{place + 1}"))
    assert check_all(embedded.context, chain) == {}
    batches = list(post_in_batches(embedded.context, chain, batch=2))
    assert [len(batch) for batch in batches] == [2, 2, 2]
    ids = [one.job_id for batch in batches for one in batch]
    embedded.start()
    embedded.succeeded(*ids)
    assert embedded.job(ids[-1]).result == {"number_more": 6}
    # Again, also now that results stand where there were references:
    assert check_all(embedded.context, chain) == {}
    again = [one for batch in post_in_batches(embedded.context, chain, batch=4) for one in batch]
    assert [(one.job_id, one.new) for one in again] == [(job_id, False) for job_id in ids]


def test_all_are_checked_and_none_is_posted(embedded: Cluster) -> None:
    list(post_in_batches(embedded.context, [give(embedded, idempotency_key="old")]))
    gone = After(job=new_job_id())
    problems = check_all(
        embedded.context,
        [
            give(embedded, idempotency_key="fine"),
            give(embedded, idempotency_key="fine", parameters={"number": 2}),
            give(embedded, idempotency_key="old", parameters={"number": 2}),
            give(embedded, idempotency_key=" blank "),
            give(embedded, idempotency_key="old"),
            Posting(type="giv"),
            give(embedded, parameters={"number": "many"}),
            give(embedded, after=(gone,)),
            give(embedded, 8),
            give(embedded, 0),
        ],
    )
    assert {place: problem.split(";")[0][:40] for place, problem in problems.items()} == {
        1: "The idempotency key 'fine' is that of an",
        2: "The idempotency key 'old' was used befor",
        3: "The idempotency key ' blank ' cannot be ",
        5: "there is no job type 'giv': did you mean",
        6: "parameter 'number' is 'many', but has to",
        7: f"There is no job {gone.job} for it"[:40],
        8: "a job can come only after those before i",
    }
    assert len(embedded.context.store.page(JobFilter())[0]) == 1


def test_what_was_posted_before_something_failed_stays(embedded: Cluster) -> None:
    """The key of the third was used by somebody else after all were checked."""
    postings = [give(embedded, idempotency_key=f"k{number}") for number in range(4)]
    batches = post_in_batches(embedded.context, postings, batch=2)
    assert len(next(batches)) == 2
    list(post_in_batches(embedded.context, [give(embedded, idempotency_key="k2", parameters={"number": 9})]))
    with pytest.raises(DuplicateKey):
        next(batches)
    keys = {job.idempotency_key for job in embedded.context.store.page(JobFilter())[0]}
    assert keys == {"k0", "k1", "k2"}


# Lines


def test_a_line_says_what_options_say(embedded: Cluster) -> None:
    evidence = {"evidence": "e"}
    lines = read(
        embedded,
        {"type": "give", "name": "one", "parameters": evidence, "priority": "high", "tag": {"team": "web"}},
        "",
        {"type": "give", "parameters": evidence, "after": ["one"], "when": "always", "priority": "critical",
         "capability": ["a", "b"], "retry": 2, "retry_delay": "1m", "key": "own"},
        {"type": "give", "parameters": {**evidence, "number": {"$result": "one", "path": "x"}}, "timeout": 90},
        options="--tag from=file --priority low --key night --capability all",
    )  # fmt: skip
    assert (lines.problems, lines.numbers) == ({}, [1, 3, 4])
    one, two, three = lines.postings
    assert (one.priority, one.properties) == (Priority.HIGH, {"from": "file", "team": "web"})
    assert (two.priority, two.properties) == (None, {"from": "file"})
    assert two.after == (After(job=0, when=When.ALWAYS),)
    assert two.capabilities == ("all", "a", "b")
    assert two.policies.retry is not None
    assert (two.policies.critical, two.policies.retry.attempts, two.policies.retry.delay) == (True, 3, 60.0)
    assert three.parameters["number"] == {"$result": 0, "path": "x"}
    assert (three.timeout, three.capabilities) == (90.0, ("all",))
    assert [posting.idempotency_key for posting in lines.postings] == ["night:1", "own", "night:4"]


def test_a_line_comes_after_a_job_that_exists(embedded: Cluster) -> None:
    there = embedded.post("give")
    said = {"type": "give", "after": there[:8], "parameters": {"number": {"$result": there[:8]}}}
    (posting,) = read(embedded, said).postings
    assert posting.after == (After(job=there),)
    assert posting.parameters == {"number": {"$result": there}}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{", "it is not JSON"),
        ("[1]", "it is no JSON object"),
        ({}, "'type' is missing"),
        ({"type": 1}, "'type' is no text"),
        ({"type": "giv"}, "did you mean give?"),
        ({"type": "give", "prioritie": "high"}, "a line has no 'prioritie'"),
        ({"type": "give", "wait": True}, "a line has no 'wait'"),
        ({"type": "give", "priority": "urgent"}, "'urgent' is no priority"),
        ({"type": "give", "delay": {}, "tag": {"a": {}}}, "cannot be the value of an option"),
        ({"type": "give", "critical": "yes"}, "'critical' is true or false"),
        ({"type": "give", "parameters": []}, "'parameters' is a JSON object"),
        ({"type": "give", "arguments": ["x"]}, "of the classic form"),
        ({"type": "give", "after": ["nobody"]}, "neither the name of a line before it"),
        ({"type": "give", "after": 1}, "'after' is a list of names"),
        ({"type": "give", "parameters": {"number": {"$result": 0}}}, "the name of a line"),
        ({"type": "give", "name": "taken"}, "has the name 'taken' already"),
        ({"type": "give", "name": 1}, "'name' is a text"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(embedded: Cluster, said: Any, words: str) -> None:
    lines = read(embedded, {"type": "give", "name": "taken"}, said, {"type": "give"})
    assert list(lines.problems) == [2]
    assert words in lines.problems[2]
    assert lines.numbers == [1, 3]


def test_many_lines_are_posted_in_little_time(embedded: Cluster) -> None:
    said = {"type": "give", "parameters": {"evidence": "e"}, "tag": {"team": "web"}}
    lines = read(embedded, *[said] * 2_000)
    assert check_all(embedded.context, lines.postings) == {}
    posted = [one for batch in post_in_batches(embedded.context, lines.postings) for one in batch]
    assert len({one.job_id for one in posted}) == 2_000
    assert embedded.context.store.counts() == {JobState.WAITING: 2_000}
