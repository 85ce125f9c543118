"""`jobrunner limits`, holding semaphores, and posting once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.support.command_line import CommandLine
from tests.support.stored import eventually, get_job, posted

pytestmark = pytest.mark.thorough

Start = Callable[..., "subprocess.Popen[str]"]

UNIQUE = '''
from taskflow import task
from taskflow.patterns import linear_flow
from jobrunner import job


class Say(task.Task):
    def execute(self, name):
        print(name)


@job(unique=("name",), max_running=2, rate="5/1m", holds=["db:shared"])
def one(name: str = "x", note: str = "") -> linear_flow.Flow:
    """One a name."""
    return linear_flow.Flow("one").add(Say("say"))


@job(unique=True)
def all_of_it(name: str = "x", note: str = "") -> linear_flow.Flow:
    """One like it."""
    return linear_flow.Flow("all_of_it").add(Say("say"))
'''


@pytest.fixture
def own(plugins: CommandLine) -> CommandLine:
    plugins.write({"flows/own/unique/flow.py": UNIQUE})
    return plugins


def test_limits_are_set_changed_listed_and_deleted(jobrunner: CommandLine) -> None:
    assert jobrunner("limits", "list").code == 0
    done = jobrunner("limits", "set", "db", "3")
    assert (done.code, done.out) == (0, "")
    assert "db has 3 units; 0 held, 0 jobs wait." in done.err
    assert jobrunner("limits", "set", "db", "--rate", "10/1m", "--json").json == {
        "name": "db", "count": 3, "starts": 10, "period": 60.0, "is_set": True, "configured_by": None,
        "held": 0, "holders": 0, "waiting": 0,
    }  # fmt: skip
    assert jobrunner("limits", "set", "api", "--rate", "1/1s", "--json").json["count"] is None
    listed = jobrunner("limits", "list")
    assert [line.split()[:4] for line in listed.out.splitlines()[1:]] == [
        ["api", "0", "any", "1/1s"],
        ["db", "0", "3", "10/1m"],
    ]
    assert jobrunner("limits", "set", "db", "any", "--rate", "none", "--json").json["starts"] is None
    assert jobrunner("limits", "delete", "db").code == 0
    assert [limit["name"] for limit in jobrunner("limits", "list", "--json").json] == ["api"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("set", "db"), 2, "Nothing was said of db."),
        (("set", "db", "-1"), 2, "-1"),
        (("set", "db", "many"), 2, "'many' is neither a number of units, 0 or more, nor `any`"),
        (("set", " ab", "1"), 2, "' ab' cannot name a semaphore"),
        (("set", "db", "--rate", "often"), 2, "is not a rate such as 10/1m"),
        (("set", "db", "--rate", "99999/1h"), 2, "a rate has 1 to 1,000 starts"),
        (("set", "db", "--rate", "0/1h"), 2, "a rate has 1 to 1,000 starts"),
        (("set", "db", "--rate", "1/0s"), 2, "the time of a rate is 1 ms to 31 days"),
        (("delete", "db"), 3, "There is no limit of the name 'db'."),
    ],
)
def test_what_cannot_be_is_said(jobrunner: CommandLine, words: tuple[str, ...], code: int, said: str) -> None:
    done = jobrunner("limits", *words)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err


def test_holds_of_a_posting_and_of_its_type_are_kept(own: CommandLine) -> None:
    job = get_job(own, posted(own("post", "greet", "--hold", "db", "--hold", "api:2", "--hold", "x:shared")))
    assert job["holds"] == [{"name": "api", "units": 2}, {"name": "db"}, {"name": "x", "shared": True}]
    job = get_job(own, posted(own("post", "one", "--hold", "db")))
    assert job["holds"] == [
        {"name": "db"},
        {"name": "type:one", "count": 2, "starts": 5, "period": 60.0},
    ]


@pytest.mark.parametrize("name", ["", "a\tb", "db:0", "x" * 300])
def test_a_name_that_no_semaphore_can_have_is_refused(plugins: CommandLine, name: str) -> None:
    done = plugins("post", "greet", "--hold", name)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_jobs_that_hold_the_same_run_one_after_the_other(plugins: CommandLine, conductor: Start) -> None:
    gate = plugins.home / "gate"
    first = posted(plugins("post", "greet", "--hold", "db", "--until", str(gate)))
    conductor()
    eventually(lambda: get_job(plugins, first)["state"] == "RUNNING", "the first runs")
    second = posted(plugins("post", "greet", "--hold", "db"))
    eventually(lambda: get_job(plugins, second)["note"] == "Waits for a slot of db.", "the second waits")
    (limit,) = plugins("limits", "list", "--json").json
    assert (limit["held"], limit["count"], limit["waiting"], limit["is_set"]) == (1, 1, 1, False)
    assert "Waits for a slot of db." in plugins("status", second).out
    gate.touch()
    assert plugins("wait", first, second).code == 0
    assert plugins("limits", "list", "--json").json == []


def test_a_unique_job_is_posted_once_while_it_is_open(own: CommandLine) -> None:
    first = posted(own("post", "one", "--name", "Ann"))
    again = own("post", "one", "--name", "Ann", "--note", "other")
    assert again.out.strip() == first
    assert "jobs of type one are unique, and one like this is open" in again.err
    assert own("post", "one", "--name", "Ann", "--json").json["new"] is False
    assert posted(own("post", "one", "--name", "Bob")) != first
    assert own("cancel", first).code == 0
    second = posted(own("post", "one", "--name", "Ann"))
    assert second != first
    done = own("retry", first)
    assert done.code == 2
    assert "another job like it waits or runs" in done.err
    assert own("cancel", second).code == 0
    assert own("retry", first).code == 0
    assert posted(own("post", "one", "--name", "Ann")) == first


def test_unique_by_all_parameters_counts_defaults_too(own: CommandLine) -> None:
    first = posted(own("post", "all_of_it"))
    assert posted(own("post", "all_of_it", "--name", "x", "--note", "")) == first
    assert posted(own("post", "all_of_it", "--note", "y")) != first


def test_a_key_says_plainly_what_differs(own: CommandLine) -> None:
    posted(own("post", "greet", "--key", "k"))
    other = own("post", "greet", "--key", "k", "--name", "Ann")
    assert other.code == 2
    assert "of type greet with other parameters." in other.err
    other = own("post", "one", "--key", "k")
    assert other.code == 2
    assert "of type greet, not one." in other.err


def test_several_jobs_hold_one_together(plugins: CommandLine, conductor: Start) -> None:
    done = plugins("post", "greet", "--set-hold", "db")
    assert done.code == 2
    assert "--set-hold is for several jobs" in done.err
    gate = plugins.home / "gate"
    first, second = plugins(
        "post", "greet", "--set-hold", "db", "--until", str(gate), "--then", "greet"
    ).out.split()
    conductor()
    eventually(lambda: get_job(plugins, first)["state"] == "RUNNING", "the first runs")
    single = posted(plugins("post", "greet", "--hold", "db"))
    eventually(lambda: get_job(plugins, single)["note"] == "Waits for a slot of db.", "the single one waits")
    gate.touch()
    assert plugins("wait", first, second, single).code == 0
    assert plugins("limits", "list", "--json").json == []


def test_a_node_is_limited_and_limits_are_configured(plugins: CommandLine, conductor: Start) -> None:
    done = plugins("limits", "set", "node:here", "--rate", "1/1s")
    assert done.code == 2
    assert "node:here cannot have a rate" in done.err
    plugins.write({"jobrunner.toml": "[limits]\nsemaphores = { db = 4 }\nnodes = { here = 0 }\n"})
    conductor("--name", "here")
    eventually(lambda: len(plugins("limits", "list", "--json").json) == 2, "the configuration is told")
    listed = plugins("limits", "list").out.splitlines()[1:]
    assert [line.split()[:3] for line in listed] == [["db", "0", "4"], ["node:here", "0", "0"]]
    assert all(line.rstrip().endswith("configured by here") for line in listed)
    waits = posted(plugins("post", "greet"))
    assert plugins("limits", "set", "node:here", "1").code == 0
    assert plugins("wait", waits).code == 0
