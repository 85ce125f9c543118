"""Chains, links, jobsets and labels from the command line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.support.command_line import CommandLine
from tests.support.stored import eventually, get_job, posted

pytestmark = pytest.mark.thorough

Conductor = Callable[..., "subprocess.Popen[str]"]


def chain(plugins: CommandLine, *words: str) -> list[str]:
    done = plugins("post", *words)
    assert done.code == 0, done.err
    return done.out.split()


def set_of(plugins: CommandLine, job_id: str) -> str:
    found: str = get_job(plugins, job_id)["jobset"]
    return found


def test_each_part_has_its_own_options(plugins: CommandLine) -> None:
    done = plugins(
        "post", "--priority", "high", "greet", "--name", "Ann", "--tag", "a=1",
        "--then", "--priority", "low", "greet", "--times", "@1.length", "--name", "Bob",
        "--then", "run_command", "--when", "always", "--tag", "b=2", "--", "echo", "@2.length",
    )  # fmt: skip
    assert done.code == 0, done.err
    first, second, third = (get_job(plugins, job_id) for job_id in done.out.split())
    assert (first["state"], first["priority"], first["properties"]) == ("WAITING", "high", {"a": "1"})
    assert (second["state"], second["priority"], second["properties"]) == ("BLOCKED", "low", {})
    assert second["parameters"]["times"] == {"$result": first["id"], "path": "length"}
    assert second["after"] == [{"id": first["id"], "type": "greet", "state": "WAITING", "when": "success"}]
    assert third["parameters"]["command"] == ["echo", {"$result": second["id"], "path": "length"}]
    assert (third["after"][0]["when"], third["properties"]) == ("always", {"b": "2"})
    assert f"jobset {first['jobset'][:8]} (3 jobs) is new" in done.err
    assert first["jobset"] == second["jobset"] == third["jobset"]


def test_a_chain_runs_and_is_waited_for(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    done = plugins(
        "post", "--wait", "greet", "--name", "Ann",
        "--then", "greet", "--name", "@1.length",
        "--then", "greet", "--on-failure", "--name", "cleanup",
    )  # fmt: skip
    assert done.code == 0, done.err
    _, second, cleanup = done.out.split()
    assert plugins("logs", second).out == "hello 3\nbye\n"
    status = plugins("status", cleanup)
    assert "It was skipped: job" in status.out
    assert f"After       {second[:8]} greet SUCCEEDED, on failure" in status.out
    assert plugins("jobset", "wait", set_of(plugins, second)).code == 0


def test_a_chain_that_fails_says_so(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    done = plugins("post", "greet", "--fail", "--then", "greet", "--json", "--wait")
    assert done.code == 1
    assert "failed in greet and was undone: no more greetings" in done.err
    assert [job["state"] for job in done.json["jobs"]] == ["REVERTED", "CANCELLED"]
    waited = plugins("jobset", "wait", done.json["jobset"][:8], "--json")
    assert waited.code == 1
    assert waited.json["state"] == "FAILED"
    assert (waited.json["counts"], waited.json["skipped"]) == ({"CANCELLED": 1, "REVERTED": 1}, 1)
    assert "1 reverted, 1 skipped" in waited.err


def test_jobs_after_those_that_exist(plugins: CommandLine) -> None:
    first, other = posted(plugins("post", "greet")), posted(plugins("post", "greet"))
    then = posted(
        plugins("post", "greet", "--after", f"{first[:8]},{other[:8]}", "--name", f"@{first[:8]}.length")
    )
    job = get_job(plugins, then)
    assert (job["state"], job["jobset"]) == ("BLOCKED", None)
    assert {link["id"] for link in job["after"]} == {first, other}
    assert job["parameters"]["name"] == {"$result": first, "path": "length"}
    assert "Waiting for the end of jobs" in plugins("list", "--state", "blocked").out
    shout = posted(plugins("post", "--after", then, "--when", "always", "shout"))
    assert plugins("cancel", first).code == 0
    assert get_job(plugins, then)["state"] == "CANCELLED"
    assert get_job(plugins, shout)["state"] == "WAITING"
    skipped = plugins("post", "greet", "--after", first)
    assert posted(skipped)
    assert "It was skipped" in skipped.err


def test_words_that_only_look_like_references(plugins: CommandLine) -> None:
    assert (
        get_job(plugins, posted(plugins("post", "greet", "--name", "@1.x")))["parameters"]["name"] == "@1.x"
    )
    _, then = chain(plugins, "greet", "--then", "greet", "--name", "@@1.x", "--until", "@ann")
    assert get_job(plugins, then)["parameters"] == {
        "name": "@1.x",
        "times": 1,
        "fail": False,
        "until": "@ann",
    }


def test_looking_at_jobsets_and_cancelling_them(plugins: CommandLine) -> None:
    assert "No jobsets" in plugins("jobset", "list").err
    ids = chain(plugins, "greet", "--name", "Ann", "--then", "greet", "--then", "greet", "--when", "always")
    jobset = set_of(plugins, ids[0])
    assert "1 waiting" in plugins("jobset", "list").out
    assert "2 blocked" in plugins("jobset", "list").out
    shown = plugins("jobset", "show", jobset[:6]).out
    assert shown.startswith(f"Jobset      {jobset}\n")
    assert [line.split()[0] for line in shown.splitlines()[-3:]] == [job_id[:8] for job_id in ids]
    posted(plugins("post", "greet"))
    listed = plugins("list", "--jobset", jobset[:8], "--json").json
    assert [job["id"] for job in listed] == ids[::-1]
    late = plugins("jobset", "wait", jobset, "--timeout", "0.2s")
    assert late.code == 124
    assert "0 of 3 jobs have ended" in late.err
    cancelled = plugins("jobset", "cancel", jobset)
    assert "has ended: 3 cancelled" in cancelled.err
    assert {job["state"] for job in plugins("list", "--jobset", jobset, "--json").json} == {"CANCELLED"}
    assert plugins("jobset", "wait", jobset).code == 1


def test_a_set_is_retried_where_it_failed(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    done = plugins(
        "post", "--jobset", "night", "greet", "--then", "run_command", "--wait", "--", "test", "-e", "there",
        "--then", "greet",
    )  # fmt: skip
    assert done.code == 1, done.err
    ids = done.out.split()
    jobset = set_of(plugins, ids[0])
    assert plugins("jobset", "list", "--json").json[0]["name"] == "night"
    (plugins.home / "there").touch()
    again = plugins("jobset", "retry", jobset[:8], "--wait")
    assert again.code == 0, again.err
    assert "2 of its 3 jobs are run again; results of 1 that succeeded are kept." in again.err
    assert [get_job(plugins, job_id)["attempt"] for job_id in ids] == [1, 2, 2]
    nothing = plugins("jobset", "retry", jobset, "--json")
    assert (nothing.code, nothing.json["retried"], nothing.json["refused"]) == (0, [], {})
    assert plugins("jobset", "retry", "12345678").code == 3


def test_keys_make_a_chain_once_only(plugins: CommandLine) -> None:
    words = ("greet", "--key", "a", "--then", "greet", "--key", "b", "--name", "@1.length")
    ids = chain(plugins, *words)
    again = plugins("post", *words)
    assert again.out.split() == ids
    assert "was posted before" in again.err
    assert len(plugins("jobset", "list", "--json").json) == 1
    more = plugins("post", *words, "--then", "greet")
    assert more.out.split()[:2] == ids
    assert "(1 job) is new; 2 more were posted before, by their keys" in more.err


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("greet --then", 2, ["required: TYPE"]),
        ("--then greet", 2, ["--then stands between two job types"]),
        ("greet --then gret", 2, ["no job type 'gret'"]),
        ("greet --then greet --times many", 2, ["'times'", "a whole number"]),
        ("greet --then greet --name @2.x", 2, ["@2 is no job before this one", "@@"]),
        ("greet --then shout --hierarchy", 2, ["draws one flow"]),
        ("greet --then shout --times @1.length", 2, ["invalid int value"]),
        (
            "greet --then greet --when sometimes",
            2,
            ["'sometimes' is no condition", "success, failure, always"],
        ),
        ("greet --on-failure --then greet", 2, ["no job before this one", "--after ID"]),
        ("greet --when always", 2, ["no job before this one"]),
        ("greet --after 12345678", 3, ["no job whose id starts with 12345678"]),
        ("greet --on all", 3, ["No conductor is alive", "jobrunner run"]),
        ("greet --on n1 --node n2", 2, ["contradict"]),
        ("--on all shout", 3, ["No conductor is alive"]),
        ("greet --hierarchy --then greet", 2, ["draws one flow"]),
    ],
)
def test_what_cannot_be_a_chain_is_refused_in_words(
    plugins: CommandLine, line: str, code: int, words: list[str]
) -> None:
    done = plugins("post", *line.split())
    assert (done.code, done.out) == (code, "")
    for word in words:
        assert word in done.err
    assert "Traceback" not in done.err
    assert plugins("list", "--json").json == []


def test_one_job_on_each_node_that_has_a_label(plugins: CommandLine, conductor: Conductor) -> None:
    conductor("--name", "n1", "--label", "web", "--label", "rack=3")
    eventually(lambda: plugins("nodes", "--json").json, "it has reported")
    assert "web, rack=3" in plugins("nodes").out
    done = plugins(
        "post", "greet", "--on", "label=rack=3,n1", "--wait", "--then", "greet", "--name", "@1.length"
    )
    assert done.code == 0, done.err
    first, then = (get_job(plugins, job_id) for job_id in done.out.split())
    assert (first["node_pin"], first["node"], then["node_pin"]) == ("n1", "n1", None)
    unknown = plugins("post", "greet", "--on", "n1,n2")
    assert unknown.code == 3
    assert "'n2'" in unknown.err
    assert "These nodes are alive: n1." in unknown.err


def test_jobs_of_the_classic_form_stand_in_chains(plugins: CommandLine, conductor: Conductor) -> None:
    conductor("--name", "n1")
    eventually(lambda: plugins("nodes", "--json").json, "it has reported")
    done = plugins(
        "post", "--tag", "a=1", "shout", "--word", "first",
        "--then", "--on", "all", "--wait", "shout", "--word", "second", "--times", "2",
        "--then", "run_command", "--", "echo", "made",
        "--then", "--when", "always", "shout", "--word", "@3.outcome.stdout",
    )  # fmt: skip
    assert done.code == 0, done.err
    first, second, third, last = (get_job(plugins, job_id) for job_id in done.out.split())
    assert [job["type"] for job in (first, second, third, last)] == ["shout", "shout", "run_command", "shout"]
    assert (first["properties"], second["node_pin"], first["node_pin"]) == ({"a": "1"}, "n1", None)
    assert [link["id"] for link in third["after"]] == [second["id"]]
    assert plugins("logs", second["id"]).out == "SECOND\nSECOND\n"
    assert plugins("logs", last["id"]).out == "MADE\n\n"
    assert first["jobset"] == last["jobset"]


def test_all_leaves_out_a_drained_node_and_says_so(plugins: CommandLine, conductor: Conductor) -> None:
    conductor("--name", "n1")
    eventually(lambda: plugins("nodes", "--json").json, "it has reported")
    assert plugins("node", "drain", "n1").code == 0
    refused = plugins("post", "greet", "--on", "all")
    assert (refused.code, refused.out) == (3, "")
    assert "No node takes jobs now: n1 (it is drained)" in refused.err
    named = plugins("post", "greet", "--on", "n1")
    assert named.code == 0
    assert "drained, so that jobs wait there: n1" in named.err


def test_labels_come_from_the_configuration_too(jobrunner: CommandLine) -> None:
    def labels(**variables: str) -> str:
        return jobrunner("config", "show", **variables).out

    assert "web" in labels(JOBRUNNER_CONDUCTOR__LABELS="web,rack=3")
    refused = jobrunner("config", "show", JOBRUNNER_CONDUCTOR__LABELS="a b")
    assert refused.code == 2
    assert "'a b' is no label" in refused.err
