"""`jobrunner post`: what is posted, and what people are told when it cannot be."""

from __future__ import annotations

import json
import uuid

import pytest
import sqlalchemy as sa

from jobrunner.persistence.schema import VERSION_TABLE
from tests.support.command_line import CommandLine
from tests.support.stored import Rows, get_job, posted


def test_the_id_stands_alone_on_stdout(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet", "--name", "Ann"))
    assert str(uuid.UUID(job_id)) == job_id
    job = get_job(plugins, job_id)
    assert (job["type"], job["state"]) == ("greet", "WAITING")
    assert job["parameters"] == {"name": "Ann", "times": 1, "fail": False, "until": ""}


def test_options_of_the_command_are_kept_with_the_job(plugins: CommandLine) -> None:
    done = plugins(
        "post", "--tag", "team=ops", "greet", "--priority", "high", "--node", "n1", "--timeout", "2h",
        "--delay", "1h", "--author", "Ann", "--capability", "has_command:sh", "--tag", "x=y", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    job = done.json["job"]
    assert done.json["id"] == job["id"]
    assert (done.json["new"], done.json["on_board"]) == (True, True)
    assert (job["state"], job["priority"], job["node_pin"]) == ("SCHEDULED", "high", "n1")
    assert (job["timeout"], job["author"], job["capabilities"]) == (7200.0, "Ann", ["has_command:sh"])
    assert job["properties"] == {"team": "ops", "x": "y"}


def test_one_key_is_one_job(plugins: CommandLine) -> None:
    first = posted(plugins("post", "greet", "--key", "k1"))
    again = plugins("post", "greet", "--key", "k1")
    assert posted(again) == first
    assert "was used before" in again.err
    other = plugins("post", "greet", "--key", "k1", "--name", "Bob")
    assert other.code == 2
    assert other.out == ""
    assert "idempotency key 'k1' was used before" in other.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gret", ["no job type 'gret'", "did you mean greet?"]),
        ("greet --times many", ["'times'", "'many'", "a whole number", "jobrunner post greet --help"]),
        ("greet --nam x", ["no option --nam", "did you mean --name?"]),
        ("greet_many", ["'names' is missing"]),
        ("greet --capability has_comand:ls", ["no capability 'has_comand'", "did you mean has_command?"]),
        ("greet --after ,", ["--after names no job"]),
        ("greet --on ,", ["--on names no node"]),
        ("greet --on-failure", ["no job before this one", "--after ID"]),
        ("greet --prefer a --failover 99999d", ["31 years"]),
        ("needy", ["'treasure' (for dig)", "nothing provides"]),
        ("greet --priority urgent", ["'urgent' is no priority", "very-high"]),
        ("", ["Say which job is to be posted: jobrunner post TYPE"]),
    ],
)
def test_bad_input_is_told_and_nothing_is_posted(
    plugins: CommandLine, rows: Rows, line: str, words: list[str]
) -> None:
    done = plugins("post", *line.split())
    assert (done.code, done.out) == (2, "")
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert rows.count() == 0


def test_parameters_that_are_too_large_are_told(plugins: CommandLine, rows: Rows) -> None:
    done = plugins("post", "greet_many", "--names", *(["x" * 100_000] * 3))
    assert (done.code, done.out) == (2, "")
    assert "256 KiB" in done.err
    assert rows.count() == 0


def test_help_lists_types_and_plainly_what_did_not_load(plugins: CommandLine) -> None:
    done = plugins("post", "--help")
    assert done.code == 0
    listed = done.out[done.out.index("job types:") :]
    assert "greet                  Greet somebody." in listed
    assert "shout                  Shout a word." in listed
    assert "backup_directory" in listed
    assert "could not be loaded" in listed
    assert "flows.own.broken" in listed
    assert "No module named 'nothing_of_that_name'" in listed


def test_an_unknown_type_may_be_in_a_plugin_that_did_not_load(plugins: CommandLine) -> None:
    done = plugins("post", "broken")
    assert done.code == 2
    assert "flows.own.broken" in done.err
    assert "nothing_of_that_name" in done.err


def test_a_types_help_has_its_options_and_the_commands(plugins: CommandLine) -> None:
    done = plugins("post", "greet", "--help")
    assert done.code == 0
    assert all(
        word in done.out for word in ("Greet somebody.", "--name TEXT", "who it is", "--times", "--follow")
    )


def test_hierarchy_shows_the_flow_and_posts_nothing(plugins: CommandLine, rows: Rows) -> None:
    tree = plugins("post", "--hierarchy", "greet")
    assert tree.code == 0, tree.err
    assert "├── greet" in tree.out
    assert plugins("post", "greet", "--hierarchy=dot").out.startswith("digraph")
    assert plugins("post", "greet", "--hierarchy=mermaid").out.startswith("flowchart")
    assert "<svg" in plugins("post", "--hierarchy=svg", "greet").out
    wrong = plugins("post", "greet", "--hierarchy=png")
    assert wrong.code == 2
    assert "there are tree, dot, mermaid, svg" in wrong.err
    assert rows.count() == 0


def test_posting_works_while_redis_is_away(plugins: CommandLine, free_port: int) -> None:
    done = plugins("post", "greet", "--board-url", f"redis://127.0.0.1:{free_port}/0")
    job_id = posted(done)
    assert "safe in the database" in done.err
    assert "redis" in done.err.lower()
    assert get_job(plugins, job_id)["state"] == "WAITING"


@pytest.mark.redis
def test_a_board_of_another_database_costs_no_job_its_id(plugins: CommandLine, redis_url: str) -> None:
    """Else somebody would post it once more, and both would run."""
    board = ("--board-url", redis_url)
    other = ("--persistence-url", f"sqlite:///{plugins.home}/other.sqlite")
    assert plugins("post", "run_command", *board, *other, "--", "true").code == 0
    done = plugins("post", "run_command", *board, "--", "true")
    assert (done.code, plugins("list", "--json").json[0]["id"]) == (0, done.out.strip())
    assert "belongs to the database" in done.err
    assert "board.prefix" in done.err
    assert "safe in the database" in done.err
    cancelled = plugins("cancel", done.out.strip(), *board)
    assert (cancelled.code, plugins("status", done.out.strip(), "--json").json["state"]) == (0, "CANCELLED")


def test_a_database_that_is_away_is_told(plugins: CommandLine, free_port: int) -> None:
    url = f"mysql+pymysql://somebody:secret@127.0.0.1:{free_port}/jobs"
    done = plugins("post", "greet", "--persistence-url", url)
    assert (done.code, done.out) == (75, "")
    assert "is not available" in done.err
    assert "jobrunner doctor" in done.err
    assert "secret" not in done.err


def test_two_configurations_that_contradict_each_other_are_told(plugins: CommandLine) -> None:
    done = plugins("post", "greet", "--board-url", "mysql://a/b", "--persistence-url", "mysql://c/d")
    assert (done.code, done.out) == (2, "")
    assert "board.url and persistence.url contradict each other" in done.err
    assert "Leave board.url out" in done.err


def test_a_database_that_was_not_upgraded_is_told(plugins: CommandLine, rows: Rows) -> None:
    with rows.database.write() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '0000'"))
    for line in (["post", "greet"], ["list"], ["show", "--once"]):
        done = plugins(*line)
        assert (done.code, done.out) == (75, "")
        assert "made by an earlier version of jobrunner" in done.err
        assert "jobrunner db upgrade" in done.err


# The classic form


def test_a_classic_plugin_posts_with_its_own_options(plugins: CommandLine) -> None:
    job = get_job(
        plugins, posted(plugins("post", "--priority", "low", "shout", "--times", "2", "--word", "ho"))
    )
    assert (job["type"], job["priority"], job["parameters"]) == ("shout", "low", {"word": "ho"})
    assert job["factory"]["args"] == [2]


def test_help_after_a_classic_type_is_its_own(plugins: CommandLine) -> None:
    done = plugins("post", "shout", "--help")
    assert done.code == 0
    assert done.out.startswith("usage: jobrunner post shout")
    assert "The classic form." in done.out
    assert "--verbose" in done.out


def test_a_classic_plugins_flow_is_shown(plugins: CommandLine, rows: Rows) -> None:
    for line in (["shout", "--hierarchy", "--times", "2"], ["--hierarchy", "shout", "--times", "2"]):
        done = plugins("post", *line)
        assert done.code == 0, done.err
        assert "└── shout-1" in done.out
    assert plugins("post", "--hierarchy=dot", "shout").out.startswith("digraph")
    assert rows.count() == 0


def test_a_classic_plugins_wrong_option_is_its_own_error(plugins: CommandLine) -> None:
    done = plugins("post", "shout", "--times", "x")
    assert done.code == 2
    assert "invalid int value: 'x'" in done.err


def test_json_of_a_classic_posting_is_one_object(plugins: CommandLine) -> None:
    done = plugins("post", "--json", "shout")
    assert json.loads(done.out)["job"]["type"] == "shout"


# Types


def test_types_are_listed_and_told(plugins: CommandLine) -> None:
    listed = plugins("types")
    assert listed.code == 0
    assert "Greet somebody." in listed.out
    assert "nothing_of_that_name" in listed.err
    by_name = {one["name"]: one for one in plugins("types", "--json").json}
    assert by_name["greet"]["schema"]["properties"]["times"]["type"] == "integer"
    assert by_name["shout"]["schema"] is None
    one = plugins("types", "greet")
    assert "who it is" in one.out
    assert plugins("types", "gret").code == 2


@pytest.mark.parametrize("what", ["account", "database"])
def test_a_database_that_refuses_is_told_in_its_own_words(
    plugins: CommandLine, mariadb_url: str, what: str
) -> None:
    url = sa.make_url(mariadb_url)
    wrong = url.set(username="nobody", password="wrong") if what == "account" else url.set(database="nowhere")
    done = plugins("list", "--persistence-url", wrong.render_as_string(hide_password=False))
    assert done.code == 75
    assert "refuses" in done.err
    assert ("Access denied" if what == "account" else "Unknown database") in done.err
    assert "wrong@" not in done.err
    assert "Traceback" not in done.err


def test_a_preferred_node_that_nobody_knows_is_not_waited_for(plugins: CommandLine) -> None:
    job = get_job(plugins, posted(plugins("post", "greet", "--prefer", "nowhere", "--failover", "5m")))
    assert job["placement"] == {"prefer": "nowhere", "failover": 300.0}
    assert (job["node_pin"], job["failover_ms"]) == (None, None)
    assert "nowhere" in plugins("status", job["id"]).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--prefer a --node b", ["'b'", "'a'", "--prefer"]),
        ("--failover 5m", ["--failover", "--prefer NAME"]),
        ("--prefer a --failover soon", ["--failover", "soon"]),
    ],
)
def test_a_preference_that_makes_no_sense_is_refused(
    plugins: CommandLine, options: str, words: list[str]
) -> None:
    done = plugins("post", "greet", *options.split())
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert all(word in done.err for word in words), done.err


NEAR = """
from taskflow import task
from taskflow.patterns import linear_flow

from jobrunner import job


@job(prefer="db1", failover="10m")
def near() -> linear_flow.Flow:
    return linear_flow.Flow("near").add(task.FunctorTask(print, name="say"))
"""


@pytest.mark.thorough
def test_a_types_preference_is_its_jobs_unless_they_say_otherwise(plugins: CommandLine) -> None:
    plugins.write({"flows/own/near/flow.py": NEAR})
    assert "node db1, any other after 10m" in plugins("types", "near").out
    for options, expected in (
        ("", {"prefer": "db1", "failover": 600.0}),
        ("--failover 5s", {"prefer": "db1", "failover": 5.0}),
        ("--prefer db2", {"prefer": "db2"}),
        ("--node db3", None),
    ):
        job = get_job(plugins, posted(plugins("post", "near", *options.split())))
        assert job["placement"] == expected, options
