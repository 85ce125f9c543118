"""Jobs that wait, and those whose code has changed, as a person deals with them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from jobrunner.model import new_job_id
from tests.support.command_line import CommandLine
from tests.support.stored import eventually, get_job, posted

pytestmark = pytest.mark.thorough

Conductor = Callable[..., "subprocess.Popen[str]"]

ORDER = '''
from taskflow import task
from taskflow.patterns import linear_flow
from jobrunner import WaitForSignal, job


class First(task.Task):
    def execute(self):
        print("first")


class {last}(task.Task):
    def execute(self, word):
        print("the word is", word)


@job()
def order() -> linear_flow.Flow:
    """Waits for a word."""
    return linear_flow.Flow("order").add(First("first"), WaitForSignal("go", provides="word"), {last}("last"))
'''


@pytest.fixture
def shop(plugins: CommandLine) -> CommandLine:
    plugins.write({"flows/own/order/flow.py": ORDER.format(last="Last")})
    return plugins


def waiting(shop: CommandLine) -> str:
    """A job that waits for its signal, with no conductor there any more; its id."""
    job_id = posted(shop("post", "order"))
    assert shop("run", "--once", "--processes", "1").code == 0
    assert get_job(shop, job_id)["parked"] == "signal"
    return job_id


def test_a_signal_says_what_became_of_it(shop: CommandLine) -> None:
    early = posted(shop("post", "order"))
    kept = shop("signal", early, "go", "1", "--key", "k")
    assert (kept.code, kept.out) == (0, "")
    assert re.fullmatch(r"jobrunner: job \w{8} got the signal go; it is kept until .*\n", kept.err)
    again = shop("signal", early, "go", "1", "--key", "k", "--json")
    assert again.json == {"id": early, "name": "go", "new": False, "woken": False, "state": "WAITING"}
    assert "was used before" in shop("signal", early, "go", "2", "--key", "k").err
    status = shop("status", early).out
    assert re.search(r"Signals +go \(.* ago\): 1\n", status)
    assert [signal["data"] for signal in get_job(shop, early)["signals"]] == [1]
    job_id = waiting(shop)
    assert get_job(shop, early)["state"] == "SUCCEEDED"
    woken = shop("signal", job_id[:8], "go", '{"by": "Ada"}')
    assert "got the signal go, and goes on" in woken.err
    assert shop("run", "--once", "--processes", "1").code == 0
    assert shop("logs", job_id).out == "first\nthe word is {'by': 'Ada'}\n"
    assert get_job(shop, job_id)["signals"] == []


def test_what_a_job_waits_for_is_told_everywhere(shop: CommandLine) -> None:
    job_id = waiting(shop)
    status = shop("status", job_id).out
    assert "Waits for   the signal go\n" in status
    assert "Due" not in status
    for command in ("list", "show"):
        (line,) = [line for line in shop(command).out.splitlines() if job_id[:8] in line]
        assert "waits for the signal go" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["go", "{"], "The data of the signal is not JSON"),
        (["go", "yes"], "Text needs quotes of its own"),
        (["go", "NaN"], "which JSON cannot"),
        (["go", "[" * 40 + "]" * 40], "nested deeper than 32"),
        (["no blanks", "1"], "cannot be the name of a signal"),
        (["a,b", "1"], "cannot be the name of a signal"),
        (["", "1"], "cannot be the name of a signal"),
        (["go", "1", "--key", " k "], "cannot be the key of a signal"),
    ],
    ids=range(8),
)
def test_bad_signals_are_refused_in_plain_words(shop: CommandLine, arguments: list[str], said: str) -> None:
    job_id = posted(shop("post", "order"))
    done = shop("signal", job_id, *arguments)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert get_job(shop, job_id)["signals"] == []


def test_data_can_come_from_stdin(shop: CommandLine) -> None:
    job_id = posted(shop("post", "order"))
    codes = []
    for size in (200_000, 300_000):
        command = shop.command("signal", job_id, "go", "-")
        given = f'"{"x" * size}"'
        done = subprocess.run(
            command, cwd=shop.home, env=shop.environment(), input=given, capture_output=True, text=True
        )
        codes.append((done.returncode, "256 KiB" in done.stderr))
    assert codes == [(0, False), (2, True)]
    assert [len(signal["data"]) for signal in get_job(shop, job_id)["signals"]] == [200_000]


def test_signals_to_nobody(shop: CommandLine) -> None:
    assert shop("signal", new_job_id(), "go").code == 3
    job_id = posted(shop("post", "order"))
    assert shop("cancel", job_id).code == 0
    done = shop("signal", job_id, "go")
    assert done.code == 2
    assert "has ended already: CANCELLED" in done.err


def test_changed_code_waits_to_be_adopted(shop: CommandLine, conductor: Conductor) -> None:
    job_id = waiting(shop)
    shop.write({"flows/own/order/flow.py": ORDER.format(last="Final")})
    assert shop("signal", job_id, "go", "1").code == 0
    conductor()
    note = eventually(lambda: get_job(shop, job_id)["note"], "the job says why it waits")
    assert "Waiting for a node that can go on with it" in note
    assert "their classes, their versions" in shop("status", job_id).out
    assert "Waiting for a node" in shop("list").out
    done = shop("adopt", job_id[:8], "--wait")
    assert done.code == 0, done.err
    assert "goes on with the code of the next node" in done.err
    assert shop("logs", job_id).out == "first\nthe word is 1\n"
    assert shop("adopt", job_id).code == 2
    assert "has ended already: SUCCEEDED" in shop("adopt", job_id).err
    fresh = posted(shop("post", "order", "--delay", "1d"))
    assert "was not begun" in shop("adopt", fresh).err
