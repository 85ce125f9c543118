"""The examples of the documentation, done as a reader would do them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobrunner.boards.taskflow import drivers
from jobrunner.conductor.engine import waits
from jobrunner.persistence import signals
from jobrunner.plugins import json_limits
from jobrunner.plugins.registry import Loading, Registry, registering
from jobrunner.policies import Placement
from tests.support.command_line import SECONDS, CommandLine
from tests.support.markdown import blocks, commands, files, page, sections, tables
from tests.support.stored import eventually
from tests.support.taskflow_boards import fetch_board

ONE = {"JOBRUNNER_CONDUCTOR__PROCESSES": "1"}


def fine(line: CommandLine, *arguments: str) -> str:
    """Run a command that has to succeed; what it prints."""
    done = line(*arguments, **ONE)
    assert done.code == 0, f"{arguments}: {done.err}"
    return done.out


def run_python(line: CommandLine, *arguments: str) -> str:
    """Run the interpreter in the reader's directory; what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=line.home,
        env=line.environment(PYTHONDONTWRITEBYTECODE="1"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def readme(jobrunner: CommandLine) -> CommandLine:
    """The reader of the README, who has written its plugin."""
    (flow,) = blocks(page("README.md"), "python")
    assert "write `flows/office/greeting/flow.py` yourself:" in page("README.md").read_text(encoding="utf-8")
    jobrunner.write({"flows/office/greeting/flow.py": flow.text})
    return jobrunner


def readme_calls(command: str) -> list[list[str]]:
    found = [call for block in blocks(page("README.md"), "console") for call in commands(block)]
    return [call for call in found if call[0] == command]


def test_the_readme_from_the_plugin_to_its_output(readme: CommandLine) -> None:
    help_call, post_call = readme_calls("post")
    assert "who is greeted (required)" in fine(readme, *help_call)
    job_id = fine(readme, *post_call).strip()
    assert len(job_id) == 36
    fine(readme, *readme_calls("run")[0])

    (row,) = [line for line in fine(readme, "list").splitlines() if line.startswith(job_id[:8])]
    assert "SUCCEEDED" in row
    assert "greeting" in row
    status = fine(readme, "status", job_id[:4])
    assert "Hello Ada! Hello Ada!" in status
    assert fine(readme, "logs", job_id[:4]) == "Hello Ada! Hello Ada!\n"
    assert "greeting" in fine(readme, "show")


def test_the_readmes_new_plugin_can_be_posted(readme: CommandLine) -> None:
    fine(readme, *readme_calls("new")[0])
    types = fine(readme, "types")
    assert "words" in types
    assert "greeting" in types  # which the page has its reader write beside it
    assert "--source" in fine(readme, "post", "words", "--help")


@pytest.fixture
def classic(jobrunner: CommandLine) -> CommandLine:
    jobrunner.write(files(page("howto/classic-plugins.md")))
    return jobrunner


def classic_calls() -> list[list[str]]:
    first = blocks(page("howto/classic-plugins.md"), "console")[0]
    return list(commands(first))


def test_the_classic_plugin_runs(classic: CommandLine) -> None:
    help_call, post_call, tree_call, _ = classic_calls()
    assert "in capitals" in fine(classic, *help_call)
    assert "say-1: words" in fine(classic, *tree_call)
    job_id = fine(classic, *post_call).strip()
    fine(classic, "run", "--once")

    assert fine(classic, "logs", job_id) == "LUNCH IS READY\nLUNCH IS READY\n"
    (block,) = [
        block
        for block in blocks(page("howto/classic-plugins.md"), "python")
        if "get_flow_details_by_uuid" in block.text
    ]
    states = run_python(classic, "-c", f"{block.text}\nprint(states_of_atoms({job_id!r}))")
    assert "'say-1': 'SUCCESS'" in states
    assert "'say-2': 'SUCCESS'" in states


def test_the_classic_plugins_typed_form_does_the_same(classic: CommandLine) -> None:
    job_id = fine(classic, "post", "announce_typed", "--loud", "--", "tea", "time").strip()
    fine(classic, "run", "--once")
    assert fine(classic, "logs", job_id) == "TEA TIME\n"


def test_the_program_posts(classic: CommandLine) -> None:
    (program,) = [
        block.text
        for block in blocks(page("howto/classic-plugins.md"), "python")
        if "print(job_id)" in block.text
    ]
    classic.write({"program.py": program})
    job_id = run_python(classic, "program.py").strip()
    (posted,) = classic("list", "--json").json
    assert (posted["id"], posted["type"], posted["state"]) == (job_id, "announce", "WAITING")
    assert posted["parameters"] == {"words": ["tea"]}


def test_a_program_elsewhere_posts_after_load_plugins(readme: CommandLine, tmp_path: Path) -> None:
    program = tmp_path / "elsewhere.py"
    program.write_text(
        "from jobrunner.plugins import load_plugins\n"
        "from jobrunner.post_job import post_job\n"
        "load_plugins()\n"
        "from flows.office.greeting.flow import greeting\n"
        "print(post_job(greeting, factory_kwargs={'name': 'Ada'}))\n",
        encoding="utf-8",
    )
    job_id = run_python(readme, str(program)).strip()
    (posted,) = readme("list", "--json").json
    assert (posted["id"], posted["parameters"]) == (job_id, {"name": "Ada", "times": 1})


@pytest.fixture
def writer(jobrunner: CommandLine) -> CommandLine:
    """Who has read how to write flows."""
    jobrunner.write(files(page("howto/write-flows.md")))
    return jobrunner


def test_the_flows_of_the_how_to_run(writer: CommandLine) -> None:
    for name in ("a", "b"):
        (writer.home / f"{name}.txt").write_text(name, encoding="utf-8")
    (writer.home / "copies").mkdir()
    sums = fine(
        writer, "post", "checksums", "--directory", ".", "--target", "sums", "--patterns", "*.txt"
    ).strip()
    copy = fine(writer, "post", "copy_files", "--directory", "copies", "--files", "a.txt", "b.txt").strip()
    url = (writer.home / "a.txt").as_uri()
    fetch = fine(writer, "post", "fetch", "--url", url, "--target", "fetched").strip()
    lost = fine(
        writer, "post", "fetch", "--url", f"{url}.gone", "--target", "lost", "--attempts", "2"
    ).strip()
    fine(writer, "run", "--once")

    states = {job["id"]: job["state"] for job in writer("list", "--json").json}
    assert states == {sums: "SUCCEEDED", copy: "SUCCEEDED", fetch: "SUCCEEDED", lost: "REVERTED"}
    lines = (writer.home / "sums").read_text(encoding="utf-8").splitlines()
    assert [line.rpartition("/")[2] for line in lines] == ["a.txt", "b.txt"]
    assert f"wrote {writer.home}/sums" in fine(writer, "logs", sums)
    assert sorted(path.name for path in (writer.home / "copies").iterdir()) == ["a.txt", "b.txt"]
    assert (writer.home / "fetched").read_text(encoding="utf-8") == "a"
    assert not list(writer.home.glob("lost*"))


def test_the_how_tos_own_test_passes(writer: CommandLine) -> None:
    assert "2 passed" in run_python(writer, "-m", "pytest", "-p", "no:cacheprovider", "flows/files/checksums")


@pytest.fixture
def office(jobrunner: CommandLine) -> CommandLine:
    """Who has read how to wait."""
    jobrunner.write(files(page("howto/waiting.md")))
    return jobrunner


def run_until(line: CommandLine, job_id: str, state: str) -> str:
    """Run conductors until the job is in that state; its status."""
    return str(
        eventually(lambda: fine(line, "run", "--once") or _status(line, job_id, state), f"it is {state}")
    )


def _status(line: CommandLine, job_id: str, state: str) -> str:
    status = fine(line, "status", job_id)
    return status if f" {state}" in status else ""


def test_the_jobs_of_the_how_to_wait_and_go_on(office: CommandLine) -> None:
    calls = [call for block in blocks(page("howto/waiting.md"), "console") for call in commands(block)]
    post_call, _, signal_call = calls
    job_id = fine(office, *post_call).strip()
    fine(office, "run", "--once")
    status = fine(office, "status", job_id)
    assert "SUSPENDED" in status
    assert "Waits for   the signal decision, until " in status
    assert f"jobrunner signal {job_id} decision" in fine(office, "logs", job_id)
    assert "waits for the signal decision" in fine(office, "show")
    fine(office, signal_call[0], job_id, *signal_call[2:])
    assert "paid = 120" in run_until(office, job_id, "SUCCEEDED")
    assert "has ended already" in office(signal_call[0], job_id, *signal_call[2:]).err


def test_a_task_of_ones_own_waits_as_the_how_to_says(office: CommandLine) -> None:
    job_id = fine(office, "post", "parcels").strip()
    for weight in (2, 3):
        fine(office, "signal", job_id, "parcel", f'{{"weight": {weight}}}')
    assert "weight = 5" in run_until(office, job_id, "SUCCEEDED")


def test_the_test_of_how_to_wait_passes(office: CommandLine) -> None:
    assert "2 passed" in run_python(office, "-m", "pytest", "-p", "no:cacheprovider", "flows/office/expense")


def test_the_limits_of_waiting_are_told_as_they_are() -> None:
    told = dict(tables(sections(page("howto/waiting.md"), 2)["Limits"])[0][1:])
    assert told == {
        "a signal's data": f"{json_limits.MAX_BYTES // 1024} KiB of JSON, {json_limits.MAX_DEPTH} levels deep",
        "signals that wait for the tasks of one job": f"{signals.PENDING_LIMIT:,}",
        "waits of one task, in one run": str(waits.WAITS_LIMIT),
    }


def test_what_threads_and_programs_print_is_kept(writer: CommandLine) -> None:
    (block,) = [
        block for block in blocks(page("howto/write-flows.md"), "python") if "copy_context" in block.text
    ]
    imports, _, code = block.text.partition("\n\n\n")
    body = "".join(f"        {line}\n" if line else "\n" for line in code.splitlines())
    writer.write(
        {
            "flows/own/threads/flow.py": f"{imports}\nfrom taskflow import task\nfrom jobrunner import job\n\n\n"
            f"class Work(task.Task):\n    def execute(self):\n{body}\n\n"
            "@job\ndef threads():\n    return Work('work')\n"
        }
    )
    job_id = fine(writer, "post", "threads").strip()
    fine(writer, "run", "--once")
    assert "Linux" in fine(writer, "logs", job_id)


def test_the_how_tos_job_is_run_again_and_its_attempts_are_told(jobrunner: CommandLine) -> None:
    jobrunner.write(files(page("howto/retry-jobs.md")))
    job_id = fine(jobrunner, "post", "report", "--source", "missing", "--retry-delay", "0s").strip()
    fine(jobrunner, "run", "--once")
    job = jobrunner("status", job_id, "--json").json
    assert (job["state"], job["attempt"], len(job["attempts"])) == ("REVERTED", 4, 3)
    (jobrunner.home / "missing").write_text("42", encoding="utf-8")
    fine(jobrunner, "retry", job_id)
    fine(jobrunner, "run", "--once")
    assert "No such file" in fine(jobrunner, "status", job_id, "--attempt", "1")
    assert "42" in fine(jobrunner, "status", job_id)


def test_the_how_tos_program_schedules_a_job(jobrunner: CommandLine) -> None:
    (program,) = blocks(page("howto/schedule-jobs.md"), "python")
    job_id = run_python(jobrunner, "-c", program.text).strip()
    (job,) = jobrunner("list", "--json").json
    assert (job["id"], job["state"], job["priority"]) == (job_id, "SCHEDULED", "high")
    assert job["expires_ms"] - job["available_ms"] == 2 * 3_600_000


def test_a_program_posts_and_cancels_what_nobody_runs(jobrunner: CommandLine) -> None:
    fine(jobrunner, "db", "upgrade")
    (program,) = blocks(page("reference/python.md"), "python")
    assert "timeout=2)" in program.text
    said = run_python(jobrunner, "-c", program.text.replace("timeout=2)", "timeout=0.1)"))
    assert said == "CANCELLED\n"


def test_the_capabilities_of_the_how_to_decide(jobrunner: CommandLine) -> None:
    jobrunner.write(files(page("howto/capabilities.md")))
    assert "has_command:ffmpeg, min_free_memory:2GiB" in fine(jobrunner, "types", "convert")
    fine(jobrunner, "post", "run_command", "--capability", "at_night", "--delay", "1d", "--", "true")
    met = fine(jobrunner, "post", "run_command", "--capability", "is_mounted:/proc", "--", "true").strip()
    unmet = fine(
        jobrunner, "post", "run_command", "--capability", f"is_mounted:{jobrunner.home}", "--", "true"
    ).strip()
    fine(jobrunner, "run", "--once")
    states = {job["id"]: job["state"] for job in jobrunner("list", "--json").json}
    assert states[met] == "SUCCEEDED"
    assert states[unmet] == "WAITING"


def test_the_job_of_the_how_to_runs_in_a_process_of_its_own(jobrunner: CommandLine) -> None:
    jobrunner.write(files(page("howto/isolation.md")))
    (jobrunner.home / "sales.csv").write_text("amount\n1.5\n2\n", encoding="utf-8")
    asked, own, plain = [
        fine(jobrunner, *call).strip()
        for call in (
            ["post", "column_sum", "--source", "sales.csv", "--column", "amount", "--memory", "4GiB"],
            ["post", "run_command", "--isolation", "process", "--", "true"],
            ["post", "run_command", "--", "true"],
        )
    ]
    assert "of its own; at most 2.0 GiB; dead after 10m" in fine(jobrunner, "types", "column_sum")
    fine(jobrunner, "run", "--once")
    found = {job["id"]: job for job in jobrunner("list", "--json").json}
    assert {job["state"] for job in found.values()} == {"SUCCEEDED"}
    assert found[asked]["result"] == {"total": 3.5}
    assert found[asked]["policies"]["run"] == {"isolation": "process", "memory": 4 << 30, "dead_after": 600.0}
    assert found[own]["usage"]["peak"] > 0
    assert found[plain]["usage"] is None
    assert "of memory at most" in fine(jobrunner, "status", own)


def test_the_postings_of_the_how_to_are_valid() -> None:
    (block,) = [
        b for b in blocks(page("howto/isolation.md"), "python") if b.text.startswith("from jobrunner.model")
    ]
    names: dict[str, object] = {}
    exec(block.text, names)
    assert getattr(names["posting"], "type", None) == "column_sum"


def test_the_preferences_of_the_how_to_are_as_it_says() -> None:
    registry = Registry()
    names: dict[str, Any] = {"__name__": __name__}
    with registering(Loading(registry=registry, sources={})):
        for block in blocks(page("howto/placement.md"), "python"):
            exec(block.text, names)
    wanted = Placement(prefer="db1", failover=600)
    assert names["posting"].policies.placement == wanted
    assert registry.job_types["rebuild_index"].policies.placement == wanted


def test_the_chains_of_the_how_to_run(jobrunner: CommandLine) -> None:
    here = page("howto/jobsets.md")
    jobrunner.write(files(here))
    calls = [call for block in blocks(here, "console") for call in commands(block)]
    chain = next(call for call in calls if call[:2] == ["post", "count_orders"])
    count, report, summary = fine(jobrunner, *chain).split()
    (program,) = [block.text for block in blocks(here, "python") if block.text.startswith("# report_both.py")]
    jobrunner.write({"report_both.py": program.replace("timeout=60", "timeout=90")})
    with subprocess.Popen(
        jobrunner.command("run"),
        cwd=jobrunner.home,
        env=jobrunner.environment(**ONE),
        stderr=subprocess.DEVNULL,
    ) as conductor:
        try:
            assert run_python(jobrunner, "report_both.py") == "SUCCEEDED 4\n"
            fine(jobrunner, "wait", count, report, summary)
            fine(jobrunner, "post", "run_command", "--on", "all", "--wait", "--", "true")
        finally:
            conductor.terminate()
            assert conductor.wait(SECONDS) == 0
    (lines,) = [block.text for block in blocks(here, "json")]
    jobrunner.write({"orders.jsonl": lines})
    posted = fine(jobrunner, "post", "--file", "orders.jsonl", "--jobset", "orders").split()
    assert len(posted) == 4
    assert fine(jobrunner, "post", "--file", "orders.jsonl").split() == posted
    assert fine(jobrunner, "logs", report) == "Friday: 6 orders\n"
    assert "0 count_orders SUCCEEDED {'orders': 6}" in fine(jobrunner, "logs", summary)


def test_taskflow_alone_uses_the_journal(jobrunner: CommandLine) -> None:
    (example,) = blocks(page("journal.md"), "python")
    assert "/tmp/flows.sqlite" in example.text
    run_python(jobrunner, "-c", example.text.replace("/tmp/", f"{jobrunner.home}/"))
    assert (jobrunner.home / "flows.sqlite").stat().st_size > 0


def test_a_stock_conductor_runs_what_the_how_to_posts(jobrunner: CommandLine) -> None:
    examples = [block.text for block in blocks(page("howto/taskflow.md"), "python")]
    written = {text.partition("\n")[0].removeprefix("# "): text for text in examples}
    assert sorted(written) == ["conductor.py", "greeting.py", "post.py"]
    jobrunner.write({name: text.replace("/tmp/", f"{jobrunner.home}/") for name, text in written.items()})
    assert run_python(jobrunner, "post.py") == "UNCLAIMED\n"
    assert run_python(jobrunner, "conductor.py") == "Hello Ada!\n"
    board = fetch_board({"board": "jobrunner-sql", "connection": f"sqlite:///{jobrunner.home}/flows.sqlite"})
    board.connect()
    assert board.job_count == 0
    board.close()


def test_the_settings_of_taskflow_boards_are_told_as_they_are() -> None:
    ((_, *rows),) = tables(sections(page("howto/taskflow.md"), 2)["Boards"])
    told = {name.strip("`"): default.strip("`") for name, default, _ in rows}
    assert told == {
        "board": "",
        "connection": "",
        "lease": f"{drivers.LEASE_S:g}",
        "namespace": drivers.NAMESPACE,
        "remember": f"{drivers.REMEMBER_S:g}",
    }
