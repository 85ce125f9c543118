"""Jobs that really run: waiting for them, following, cancelling, retrying."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine
from tests.support.stored import DEADLINE_S, Rows, eventually, get_job, posted

Conductor = Callable[..., "subprocess.Popen[str]"]


def test_post_and_wait(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    good = plugins("post", "--wait", "greet", "--name", "Ann")
    assert posted(good)
    assert good.err == ""
    bad = plugins("post", "greet", "--fail", "--wait")
    assert bad.code == 1
    assert len(bad.out.split()) == 1
    assert "failed in greet and was undone: no more greetings" in bad.err
    both = plugins("wait", good.out.strip()[:8], bad.out.strip()[:8], "--json")
    assert both.code == 1
    assert [job["state"] for job in both.json] == ["SUCCEEDED", "REVERTED"]
    assert plugins("wait", good.out.strip()).code == 0


def test_following_shows_output_and_atoms_on_stderr(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    done = plugins("post", "--follow", "shout", "--word", "hey", "--times", "2")
    job_id = posted(done)
    assert "shout-1 SUCCESS" in done.err
    assert [line for line in done.err.splitlines() if line == "HEY"] == ["HEY", "HEY"]
    assert plugins("logs", job_id).out == "HEY\nHEY\n"


def test_logs_follow_a_job_until_it_ends(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    until = plugins.home / "enough"
    job_id = posted(plugins("post", "greet", "--name", "Ann", "--until", str(until)))
    with subprocess.Popen(
        plugins.command("logs", "-f", job_id),
        cwd=plugins.home,
        env=plugins.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == "hello Ann\n"
        assert logs.poll() is None
        until.touch()
        assert logs.stdout.read() == "bye\n"
        assert logs.wait(DEADLINE_S) == 0


def test_waiting_ends_when_the_time_is_up(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet"))
    done = plugins("wait", job_id, "--timeout", "0.3s")
    assert done.code == 124
    assert f"Not finished after 0.3s: {job_id}" in done.err


def test_who_waits_is_told_why_nothing_happens(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet"))
    done = plugins("wait", job_id, "--timeout", "6s")
    assert done.code == 124
    assert done.err.count(f"job {job_id[:8]} waits: No conductor is running") == 1


def test_who_waits_is_told_that_all_nodes_are_drained(plugins: CommandLine, conductor: Conductor) -> None:
    assert conductor("--once", "--name", "alpha").wait(DEADLINE_S) == 0
    assert plugins("node", "drain", "alpha").code == 0
    conductor("--name", "alpha")  # drained from its start
    eventually(lambda: "drained" in plugins("nodes").out, "it reports")
    job_id = posted(plugins("post", "greet"))
    done = plugins("wait", job_id, "--timeout", "6s")
    assert done.code == 124
    assert "All nodes that run conductors are drained" in done.err


def test_a_waiting_job_is_cancelled_now(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet"))
    done = plugins("cancel", job_id[:8], "--wait")
    assert done.code == 0
    assert "is cancelled" in done.err
    assert get_job(plugins, job_id)["state"] == "CANCELLED"
    assert plugins("wait", job_id).code == 1
    again = plugins("cancel", job_id, "--json")
    assert [one["state"] for one in again.json] == ["CANCELLED"]


def test_a_running_job_is_cancelled_at_its_next_border(plugins: CommandLine, conductor: Conductor) -> None:
    conductor()
    job_id = posted(plugins("post", "greet", "--until", str(plugins.home / "never")))
    eventually(lambda: get_job(plugins, job_id)["state"] == "RUNNING", "it runs")
    done = plugins("cancel", job_id, "--wait")
    assert done.code == 0, done.err
    assert get_job(plugins, job_id)["state"] == "CANCELLED"


def test_one_that_cannot_be_cancelled_keeps_no_other_from_it(plugins: CommandLine, rows: Rows) -> None:
    ended, waiting = posted(plugins("post", "greet")), posted(plugins("post", "greet"))
    rows.change(ended, state="SUCCEEDED")
    done = plugins("cancel", ended, waiting)
    assert done.code == 2
    assert f"Job {ended} has ended already: SUCCEEDED" in done.err
    assert get_job(plugins, waiting)["state"] == "CANCELLED"


def test_retry_is_a_new_attempt(plugins: CommandLine, conductor: Conductor) -> None:
    job_id = posted(plugins("post", "greet"))
    early = plugins("retry", job_id)
    assert early.code == 2
    assert "has not ended" in early.err
    assert plugins("cancel", job_id).code == 0
    conductor()
    done = plugins("retry", job_id, "--wait")
    assert done.code == 0, done.err
    assert (get_job(plugins, job_id)["attempt"], get_job(plugins, job_id)["state"]) == (2, "SUCCEEDED")


def test_a_conductor_runs_what_there_is_and_ends(plugins: CommandLine, conductor: Conductor) -> None:
    ids = [posted(plugins("post", "greet")) for _ in range(3)]
    assert conductor("--once", "--name", "alpha").wait(DEADLINE_S) == 0
    assert {get_job(plugins, job_id)["state"] for job_id in ids} == {"SUCCEEDED"}
    (node,) = plugins("nodes", "--json").json
    assert (node["name"], node["state"]) == ("alpha", "stopped")
    assert "alpha" in plugins("nodes").out


def test_a_conductor_says_once_which_plugin_it_could_not_load(
    plugins: CommandLine, conductor: Conductor
) -> None:
    plugins.write({"flows/broken/one/flow.py": "import not_installed_here\n"})
    assert conductor("--once", "--name", "alpha", "--processes", "2").wait(DEADLINE_S) == 0
    log = (plugins.home / "conductor.log").read_text()
    told = [line for line in log.splitlines() if "not_installed_here" in line]
    assert len(told) == 1
    assert "flows.broken.one.flow" in told[0]
    assert "SIGHUP" in told[0]


def test_interrupting_a_wait_leaves_the_job_alone(plugins: CommandLine) -> None:
    job_id = posted(plugins("post", "greet", "--key", "k"))
    with subprocess.Popen(
        plugins.command("post", "--wait", "greet", "--key", "k"),
        cwd=plugins.home,
        env=plugins.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as post:
        assert post.stdout is not None
        assert post.stdout.readline().strip() == job_id
        post.send_signal(signal.SIGINT)
        _, err = post.communicate(timeout=DEADLINE_S)
    assert post.returncode == 130
    assert "the job is posted and goes on" in err
    assert "Traceback" not in err
    assert get_job(plugins, job_id)["state"] == "WAITING"


def test_nobody_reading_on_is_no_error(plugins: CommandLine) -> None:
    posted(plugins("post", "greet"))
    command = " ".join(plugins.command("list", "--json"))
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=plugins.home,
        env=plugins.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("141", "0")  # 0 if it had written all before its reader was gone


# Programs


PROGRAM = """
import sys
from jobrunner import post_job
from jobrunner.plugins import load_plugins
load_plugins()
from flows.own.shout.flow import make_flow
from jobrunner import post_job as again
assert callable(again)
job_id = post_job(make_flow, store={"word": "ho"}, factory_args=[1])
print("posted", job_id, file=sys.stderr)
"""

LOOKUP = """
import sys
from jobrunner.errors import JobNotFound
from jobrunner.logbook import get_flow_details_by_uuid
try:
    found = get_flow_details_by_uuid(sys.argv[1])
except JobNotFound as error:
    sys.exit(error.message)
again = get_flow_details_by_uuid(found.uuid)
print(type(found).__module__, again.uuid == found.uuid, sorted(atom.name for atom in found))
"""


def python(plugins: CommandLine, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=plugins.home,
        env=plugins.environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_a_program_posts_and_reads_the_flow_back(plugins: CommandLine, conductor: Conductor) -> None:
    done = python(plugins, PROGRAM)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    job_id = done.stderr.split()[-1]
    early = python(plugins, LOOKUP, job_id)
    assert early.returncode == 1
    assert "has not started yet" in early.stderr
    conductor("--once")
    assert plugins("wait", job_id, "--timeout", "60").code == 0
    found = python(plugins, LOOKUP, job_id)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("taskflow.persistence.models True")
    assert "shout-0" in found.stdout
    missing = python(plugins, LOOKUP, "00000000-0000-4000-8000-000000000000")
    assert "neither a job nor a flow detail" in missing.stderr


@pytest.mark.parametrize("flag", ["--processes=0", "--jobs=x", "--lease=soon"])
def test_wrong_options_of_run_are_told(plugins: CommandLine, flag: str) -> None:
    done = plugins("run", flag)
    assert done.code == 2
    assert flag.split("=")[0] in done.err


def test_a_word_to_load_plugins_again_does_not_end_a_conductor_that_is_just_starting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        url = f"mysql+pymysql://me@127.0.0.1:{server.getsockname()[1]}/db"
        command = [sys.executable, "-m", "jobrunner", "run", "--persistence-url", url]
        conductor = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        connection, _ = server.accept()  # an answer is waited for
        conductor.send_signal(signal.SIGHUP)
        connection.close()
    said = conductor.communicate(timeout=60)[1]
    assert conductor.returncode == 75, said
