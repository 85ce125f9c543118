"""Suspend and resume, delete and prune, drain nodes, and list by tags and author, as a person does it."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable

import pytest

from tests.support.command_line import CommandLine
from tests.support.stored import Rows, eventually, get_job, posted

pytestmark = pytest.mark.thorough

Conductor = Callable[..., "subprocess.Popen[str]"]


def ids_of(command_line: CommandLine, *arguments: str) -> list[str]:
    done = command_line("list", *arguments, "--json")
    assert done.code == 0, done.err
    return [job["id"] for job in done.json]


def state(command_line: CommandLine, job_id: str) -> str:
    return str(get_job(command_line, job_id)["state"])


# Suspend and resume


def test_a_waiting_job_is_suspended_and_resumed(plugins: CommandLine, conductor: Conductor) -> None:
    job_id = posted(plugins("post", "greet"))
    done = plugins("suspend", job_id[:8])
    assert (done.code, done.out) == (0, "")
    assert f"job {job_id[:8]} is suspended." in done.err
    again = plugins("suspend", job_id, "--json")
    assert again.json == [{"id": job_id, "state": "SUSPENDED", "held": True}]
    assert "jobrunner resume" in plugins("status", job_id).out
    job = get_job(plugins, job_id)
    assert (job["held"], job["parked"]) == (True, "held")
    conductor("--once").wait()
    assert state(plugins, job_id) == "SUSPENDED"
    conductor()
    done = plugins("resume", job_id, "--wait")
    assert done.code == 0, done.err
    assert f"job {job_id[:8]} goes on: it is WAITING" in done.err


def test_a_running_job_is_suspended_and_resumed(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    until = plugins.home / "enough"
    job_id = posted(plugins("post", "greet", "--until", str(until)))
    eventually(lambda: state(plugins, job_id) == "RUNNING", "it runs")
    done = plugins("suspend", job_id)
    assert "is being suspended: it stops at its next atom border" in done.err
    eventually(lambda: state(plugins, job_id) == "SUSPENDED", "it is suspended")
    until.touch()
    assert plugins("resume", job_id, "--wait").code == 0
    kinds = [event["kind"] for event in plugins("status", job_id, "--history", "--json").json["history"]]
    assert [kind for kind in kinds if kind != "claimed"] == [
        "posted",
        "suspend_requested",
        "suspended",
        "resumed",
        "succeeded",
    ]


def test_what_cannot_be_suspended_or_resumed_says_why(plugins: CommandLine, rows: Rows) -> None:
    ended, waiting = posted(plugins("post", "greet")), posted(plugins("post", "greet"))
    rows.change(ended, state="SUCCEEDED")
    for command in ("suspend", "resume"):
        done = plugins(command, ended, waiting)
        assert done.code == 2
        assert f"Job {ended} has ended already: SUCCEEDED" in done.err
    assert state(plugins, waiting) == "WAITING"
    assert "was not suspended: it is WAITING" in plugins("resume", waiting).err
    rows.change(waiting, state="RUNNING", cancel="revert", owner="o")
    done = plugins("suspend", waiting)
    assert (done.code, "is being cancelled" in done.err) == (2, True)
    assert plugins("suspend", "abcdef").code == 3


# Delete


def test_deleting_in_any_state_and_again(plugins: CommandLine, rows: Rows) -> None:
    waiting, ended, suspended, stays = (posted(plugins("post", "greet", "--tag", "a=b")) for _ in range(4))
    rows.change(ended, state="FAILED")
    plugins("suspend", suspended)
    done = plugins("delete", waiting[:10], ended, suspended)
    assert (done.code, done.out) == (0, "")
    assert f"job {waiting[:8]} is deleted." in done.err
    assert ids_of(plugins) == [stays]
    assert ids_of(plugins, "--tag", "a=b") == [stays]
    again = plugins("delete", waiting, str(uuid.uuid4()), "--json")
    assert again.code == 0
    assert [one["deleted"] for one in again.json] == [False, False]
    assert "is not there any more" in plugins("delete", waiting).err


def test_a_key_can_be_used_again_once_its_job_is_deleted(plugins: CommandLine, rows: Rows) -> None:
    first = posted(plugins("post", "greet", "--key", "k"))
    assert posted(plugins("post", "greet", "--key", "k")) == first
    assert plugins("delete", first).code == 0
    assert posted(plugins("post", "greet", "--key", "k")) != first


def test_what_is_not_deleted_says_why(plugins: CommandLine, rows: Rows) -> None:
    running, other = posted(plugins("post", "greet")), posted(plugins("post", "greet"))
    rows.change(running, state="RUNNING", owner="o")
    done = plugins("delete", running, other)
    assert done.code == 2
    assert f"Job {running} is running, so it is not deleted" in done.err
    assert "--cancel" in done.err
    assert ids_of(plugins) == [running]
    for unknown in ("abcdef", "nonsense"):
        assert plugins("delete", unknown).code == 3


def test_a_running_job_is_cancelled_and_deleted(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    job_id = posted(plugins("post", "greet", "--until", str(plugins.home / "never")))
    eventually(lambda: state(plugins, job_id) == "RUNNING", "it runs")
    done = plugins("delete", "--cancel", job_id)
    assert done.code == 0, done.err
    assert plugins("status", job_id).code == 3


# Prune


@pytest.fixture
def ended(plugins: CommandLine, rows: Rows) -> list[str]:
    """Five jobs that ended, oldest first: 50, 40, 30, 20 and 10 days ago; and one that waits."""
    ids = [posted(plugins("post", "greet")) for _ in range(6)]
    now_ms = get_job(plugins, ids[5])["created_ms"]
    for number, job_id in enumerate(ids[:5]):
        at_ms = now_ms - (50 - 10 * number) * 86_400_000
        rows.change(job_id, state="SUCCEEDED", created_ms=at_ms, finished_ms=at_ms)
    return ids


def test_pruning_by_age_and_count(plugins: CommandLine, ended: list[str]) -> None:
    dry = plugins("prune", "--older-than", "25d", "--dry-run")
    assert (dry.code, dry.out) == (0, "")
    assert "greet, SUCCEEDED: 3 would be deleted" in dry.err
    assert "3 jobs would be deleted." in dry.err
    assert len(ids_of(plugins)) == 6
    done = plugins("prune", "--older-than", "25d", "--keep", "4", "--json")
    assert done.json == [{"type": "greet", "state": "SUCCEEDED", "removed": 1, "needed": 0}]
    assert (
        "2 deleted" in plugins("prune", "--older-than", "25d", "--state", "succeeded", "--type", "greet").err
    )
    assert ids_of(plugins) == ended[:2:-1]
    assert "0 jobs were deleted." in plugins("prune", "--keep", "0", "--state", "failed").err
    assert plugins("prune", "--keep", "1").code == 0
    assert ids_of(plugins) == [ended[5], ended[4]]


def test_pruning_needs_to_be_told_what(plugins: CommandLine, ended: list[str]) -> None:
    done = plugins("prune")
    assert done.code == 2
    assert "It was not said which jobs are to go" in done.err
    assert plugins("prune", "--keep", "0", "--state", "waiting").code == 2
    assert plugins("prune", "--keep", "-1").code == 2
    assert len(ids_of(plugins)) == 6


def test_pruning_by_the_configuration(plugins: CommandLine, ended: list[str]) -> None:
    plugins.write(
        {
            "jobrunner.toml": "[retention]\nmax_days = 15\n"
            'rules = [{ type = "shout" }, { state = "succeeded", max_count = 2 }]\n'
        }
    )
    shown = plugins("config", "show")
    assert 'rules = [{ type = "shout" }, { state = "SUCCEEDED", max_count = 2 }]' in shown.out
    assert plugins("prune", "--dry-run", "--json").json[0]["removed"] == 3
    assert plugins("prune").code == 0
    assert ids_of(plugins) == ended[:2:-1]


def test_a_wrong_rule_is_refused_in_plain_words(plugins: CommandLine) -> None:
    plugins.write({"jobrunner.toml": '[retention]\nrules = [{ state = "running" }]\n'})
    done = plugins("prune")
    assert done.code == 2
    assert "'running' is no state in which a job has ended" in done.err


# Nodes


def test_draining_a_node(plugins: CommandLine, conductor: Conductor) -> None:
    conductor("--name", "alpha")
    eventually(lambda: plugins("nodes", "--json").json, "it has reported")
    done = plugins("node", "drain", "alpha")
    assert (done.code, done.out) == (0, "")
    assert "takes no more jobs" in done.err
    [node] = plugins("nodes", "--json").json
    assert (node["state"], node["drained"]) == ("drained", True)
    assert "drained" in plugins("nodes").out
    eventually(lambda: "is drained" in (plugins.home / "conductor.log").read_text(), "it knows")
    job_id = posted(plugins("post", "greet"))
    assert plugins("wait", job_id, "--timeout", "1s").code == 124
    assert plugins("node", "undrain", "alpha", "--json").json == {"name": "alpha", "drained": False}
    assert plugins("wait", job_id).code == 0
    unknown = plugins("node", "drain", "beta")
    assert unknown.code == 3
    assert "There is no node 'beta'" in unknown.err
    assert "alpha" in unknown.err


# Tags and authors


def test_listing_by_tags_and_author(plugins: CommandLine) -> None:
    web = posted(plugins("post", "greet", "--tag", "team=web", "--tag", "env=live", "--author", "ann"))
    test = posted(plugins("post", "greet", "--tag", "team=web", "--tag", "env=test", "--author", "bob"))
    other = posted(plugins("post", "greet", "--author", "ann"))
    assert ids_of(plugins, "--tag", "team=web") == [test, web]
    assert ids_of(plugins, "--tag", "team=web", "--tag", "env=live") == [web]
    assert ids_of(plugins, "--tag", "env") == [test, web]
    assert ids_of(plugins, "--author", "ann") == [other, web]
    assert ids_of(plugins, "--author", "ann", "--tag", "env") == [web]
    assert ids_of(plugins, "--author", "ann", "--state", "finished") == []
    assert plugins("list", "--tag", "=x").code == 2
    assert "No such jobs." in plugins("list", "--tag", "team=db").err
