"""`list`, `status`, `show` and `logs` on rows as conductors, or vandals, leave them."""

from __future__ import annotations

import json
import time

import pytest

from jobrunner.model import JobError
from jobrunner.persistence.output import OutputChunk
from tests.support.command_line import CommandLine
from tests.support.made_up import made_up_atom
from tests.support.stored import Rows, posted

pytestmark = pytest.mark.thorough

EVIL = "a\x1b[2Jb\x9bc\x07d\u202ee"
"""Clears the screen, rings the bell, and writes backwards, on a terminal that obeys it."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def chunk(job_id: str, text: str, position: int = 0, atom: str = "greet", attempt: int = 1) -> OutputChunk:
    return OutputChunk(
        job_id=job_id,
        attempt=attempt,
        epoch=1,
        position=position,
        atom=atom,
        stream="out",
        at_ms=1_000,
        text=text,
    )


@pytest.fixture
def running(plugins: CommandLine, rows: Rows) -> str:
    """A job under way on node alpha: its first atom done, its second half done."""
    job_id = posted(plugins("post", "greet", "--name", "Ann"))
    started = now_ms() - 30_000
    rows.change(job_id, state="RUNNING", owner="alpha:1:ab/0", node="alpha", epoch=1, started_ms=started)
    rows.flow(
        job_id,
        made_up_atom("scan", "SUCCESS", started_ms=started, finished_ms=started + 2_000, detail="12 files"),
        made_up_atom("copy", "RUNNING", started_ms=started + 2_000, progress=0.47, detail=EVIL),
        made_up_atom("check", "PENDING"),
    )
    return job_id


def test_lists_are_filtered(plugins: CommandLine, running: str) -> None:
    waiting = posted(plugins("post", "greet", "--name", "Bob"))
    posted(plugins("post", "shout"))

    def listed(*options: str) -> list[str]:
        return [job["id"] for job in plugins("list", "--json", *options).json]

    assert len(listed()) == 3
    assert listed("--state", "running") == [running]
    assert listed("--state", "open", "--type", "greet") == [waiting, running]
    assert listed("--state", "finished") == []
    assert listed("--text", "Bob") == [waiting]
    assert listed("--until", "1h") == []
    assert len(listed("--since", "1h")) == 3


def test_lists_come_in_pages_that_tell_the_next_one(plugins: CommandLine) -> None:
    ids = [posted(plugins("post", "shout", "--word", str(number))) for number in range(5)]
    seen: list[str] = []
    line = ["list", "--limit", "2", "--json"]
    for _ in range(10):
        done = plugins(*line)
        seen += [job["id"] for job in done.json]
        if "There are more: jobrunner " not in done.err:
            break
        line = done.err.split("There are more: jobrunner ")[1].split()
    assert seen == ids[::-1]


def test_an_empty_list_says_what_to_do(plugins: CommandLine) -> None:
    done = plugins("list")
    assert (done.code, done.out) == (0, "")
    assert "jobrunner post --help" in done.err
    assert plugins("list", "--json").json == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list", "--author", "\udcff"), 2),
        (("node", "drain", "\udcff"), 3),
        (("limits", "delete", "\udcff"), 3),
    ],
)
def test_what_is_no_text_is_told_in_plain_words(
    plugins: CommandLine, words: tuple[str, ...], code: int
) -> None:
    done = plugins(*words)
    assert (done.code, done.out) == (code, "")
    assert r"\udcff" in done.err
    assert "internal" not in done.err


def test_a_corrupt_row_is_told_and_the_others_are_shown(plugins: CommandLine, rows: Rows) -> None:
    good, bad = posted(plugins("post", "greet")), posted(plugins("post", "greet"))
    rows.change(bad, parameters='{"name": ')
    for line in (["list"], ["list", "--json"], ["show", "--once"]):
        done = plugins(*line)
        assert done.code == 0, done.err
        assert good[:8] in done.out
        assert f"The row of job {bad}" in done.err + done.out
    told = plugins("status", bad)
    assert told.code == 1
    assert f"The row of job {bad} holds text that is not JSON" in told.err
    assert "Mend the row" in told.err


def test_status_tells_all(plugins: CommandLine, running: str) -> None:
    done = plugins("status", running[:8], "--history")
    assert done.code == 0, done.err
    words = [
        running,
        "greet",
        "RUNNING",
        "alpha:1:ab/0",
        "name = Ann",
        "scan",
        "SUCCESS",
        "12 files",
        "47%",
        "check",
    ]
    assert all(word in done.out for word in [*words, "posted"]), done.out
    job = plugins("status", running, "--json").json
    assert [(atom["name"], atom["state"]) for atom in job["atoms"]] == [
        ("scan", "SUCCESS"), ("copy", "RUNNING"), ("check", "PENDING"),
    ]  # fmt: skip
    assert (job["owner"], job["node"], job["epoch"]) == ("alpha:1:ab/0", "alpha", 1)


def test_a_failed_jobs_error_is_told_and_its_traceback_kept_for_v(plugins: CommandLine, rows: Rows) -> None:
    job_id = posted(plugins("post", "greet"))
    error = JobError(
        kind="OSError", message="no space left", atom="copy", traceback="Traceback ...\n  deep inside\n"
    )
    rows.change(job_id, state="FAILED", error=json.dumps(error.to_json()), finished_ms=now_ms())
    plain = plugins("status", job_id)
    assert "OSError: no space left (in copy)" in plain.out
    assert "deep inside" not in plain.out
    assert "deep inside" in plugins("status", job_id, "-v").out


@pytest.mark.parametrize("command", ["status", "wait", "cancel", "retry", "logs", "show"])
def test_ids_that_name_no_job_or_several_are_told(plugins: CommandLine, rows: Rows, command: str) -> None:
    first, second = posted(plugins("post", "greet")), posted(plugins("post", "greet"))
    rows.change(first, id="aaaa1111" + first[8:])
    rows.change(second, id="aaaa2222" + second[8:])
    unknown = plugins(command, "bbbb")
    assert (unknown.code, unknown.out.strip()) == (3, "")
    assert "There is no job whose id starts with bbbb" in unknown.err
    nonsense = plugins(command, "no-id!")
    assert nonsense.code == 3
    assert "is not a job's id" in nonsense.err
    several = plugins(command, "aaaa")
    assert several.code == 2
    assert "More than one job's id starts with aaaa" in several.err
    assert "Give more of it" in several.err


def test_show_once_shows_jobs_and_their_atoms(plugins: CommandLine, running: str) -> None:
    waiting = posted(plugins("post", "greet"))
    done = plugins("show", "--once")
    assert done.code == 0, done.err
    assert "1 running" in done.out
    assert "1 waiting" in done.out
    assert all(
        word in done.out for word in (running[:8], waiting[:8], "scan", "12 files", "47%", "1 of 3 atoms")
    )
    only = plugins("show", running[:8])
    assert waiting[:8] not in only.out


def test_show_as_json_holds_the_atoms(plugins: CommandLine, running: str) -> None:
    found = plugins("show", "--json").json
    assert found["counts"] == {"RUNNING": 1}
    (job,) = found["jobs"]
    assert (job["id"], len(job["atoms"])) == (running, 3)


def test_nothing_from_a_job_acts_on_a_terminal(plugins: CommandLine, rows: Rows, running: str) -> None:
    error = JobError(kind=EVIL, message=EVIL, atom=EVIL, traceback=EVIL)
    failed = posted(plugins("post", "greet"))
    rows.change(
        failed, type=EVIL, state="FAILED", error=json.dumps(error.to_json()), node=EVIL, note=EVIL, author=EVIL,
        parameters=json.dumps({EVIL: EVIL}), properties=json.dumps({EVIL: EVIL}), result=json.dumps({EVIL: [EVIL]}),
        finished_ms=now_ms(),
    )  # fmt: skip
    rows.output(chunk(failed, EVIL))
    lines = [
        ["list"],
        ["list", "--json"],
        ["show", "--once"],
        ["show", "--json"],
        ["logs", failed],
        ["wait", failed],
    ]
    for line in [
        *lines,
        ["status", failed, "--history", "-v"],
        ["status", running],
        ["logs", failed, "--json"],
    ]:
        done = plugins(*line)
        printed = done.out + done.err
        assert not set(printed) & set("\x1b\x9b\x07\u202e"), line
        assert "b[2J" in printed or line[0] == "logs" or "b[2J" in json.dumps(printed), line


def test_logs_are_what_was_printed_and_raw_is_raw(plugins: CommandLine, rows: Rows) -> None:
    job_id = posted(plugins("post", "greet"))
    rows.output(chunk(job_id, "one\ntw"), chunk(job_id, "o\n\x1b[31mred\x1b[0m\n", 6))
    rows.output(chunk(job_id, "second\n", attempt=2, atom="linger"))
    assert plugins("logs", job_id).out == "one\ntwo\nred\nsecond\n"
    assert plugins("logs", job_id, "--raw", "--attempt", "1").out == "one\ntwo\n\x1b[31mred\x1b[0m\n"
    assert plugins("logs", job_id, "--atom", "linger").out == "second\n"
    assert plugins("logs", job_id, "--prefix", "--attempt", "2").out == "linger | second\n"
    assert plugins("logs", job_id, "--attempt", "3").code == 3
    nothing = plugins("logs", job_id, "--atom", "lnger")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no output of lnger" in nothing.err
    pieces = [json.loads(line) for line in plugins("logs", job_id, "--json").out.splitlines()]
    assert [piece["text"] for piece in pieces][-1] == "second\n"


def test_logs_tell_what_was_left_out(plugins: CommandLine, rows: Rows) -> None:
    job_id = posted(plugins("post", "greet"))
    rows.output(chunk(job_id, "begin\n"), chunk(job_id, "end\n", 5_000_006))
    assert plugins("logs", job_id).out == "begin\n[... 5,000,000 bytes left out ...]\nend\n"


def test_no_nodes_says_what_to_do(plugins: CommandLine) -> None:
    done = plugins("nodes")
    assert (done.code, done.out) == (0, "")
    assert "`jobrunner run` starts one" in done.err
