"""``post --file``: many jobs from JSON lines."""

from __future__ import annotations

import json

from tests.support.command_line import CommandLine

LINES = [
    {"type": "greet", "name": "first", "parameters": {"name": "Ann"}, "key": "a", "tag": {"team": "web"}},
    {"type": "greet", "after": ["first"], "parameters": {"times": {"$result": "first", "path": "length"}}, "key": "b"},
    {"type": "shout", "arguments": ["--word", "hi", "--times", "2"], "key": "c"},
]  # fmt: skip


def write(plugins: CommandLine, *lines: object) -> None:
    plugins.write({"jobs.jsonl": "".join(f"{json.dumps(line)}\n" for line in lines)})


def test_lines_are_posted_once(plugins: CommandLine) -> None:
    write(plugins, *LINES)
    done = plugins("post", "--file", "jobs.jsonl")
    assert done.code == 0, done.err
    assert "3 jobs posted." in done.err
    first, then, shout = done.out.split()
    jobs = {job["id"]: job for job in plugins("list", "--json").json}
    assert [jobs[job_id]["state"] for job_id in (first, then, shout)] == ["WAITING", "BLOCKED", "WAITING"]
    assert jobs[shout]["parameters"] == {"word": "hi"}
    again = plugins("post", "--file", "jobs.jsonl", "--json")
    assert [(one["line"], one["id"], one["new"]) for one in again.json] == [
        (1, first, False), (2, then, False), (3, shout, False),
    ]  # fmt: skip
    assert "0 jobs posted; 3 were there already, by their keys." in again.err


def test_lines_make_a_jobset_of_a_name(plugins: CommandLine) -> None:
    write(plugins, *LINES)
    done = plugins("post", "--file", "jobs.jsonl", "--jobset", "night")
    assert done.code == 0, done.err
    (jobset,) = plugins("jobset", "list", "--json").json
    assert (jobset["name"], jobset["size"]) == ("night", 3)


def test_one_line_that_is_wrong_keeps_all_from_being_posted(plugins: CommandLine) -> None:
    write(plugins, *LINES, {"type": "shout", "arguments": ["--times", "x"]}, {"type": "greet", "priority": 1})
    done = plugins("post", "--file", "jobs.jsonl")
    assert (done.code, done.out) == (2, "")
    assert "line 4: shout does not take these arguments" in done.err
    assert "line 5: argument --priority: '1' is no priority" in done.err
    assert "nothing was posted, since 2 lines are not fine" in done.err
    assert "Traceback" not in done.err
    assert plugins("list", "--json").json == []


def test_what_cannot_go_with_a_file_is_refused(plugins: CommandLine) -> None:
    write(plugins)
    for words, said in (
        (["--file", "jobs.jsonl"], "no line with a job"),
        (["--file", "jobs.jsonl", "greet"], "no TYPE"),
        (["--file", "nothere"], "nothere cannot be read"),
        ([], "Say which job is to be posted"),
    ):
        done = plugins("post", *words)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
