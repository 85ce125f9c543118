"""Jobs in processes of their own: they harm nobody, keep to their limits, and can be ended whatever they do."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobrunner.conductor.isolation.accounts import account_for, become
from jobrunner.conductor.isolation.guardian import NAME as GUARDIAN
from jobrunner.conductor.supervisor.lone import SPARES
from jobrunner.errors import NotAllowedHere
from jobrunner.jobs import nodes
from jobrunner.model import CancelMode, JobState
from jobrunner.policies import LEAST_MEMORY, Hold, Policies, RetryPolicy, RunLimits
from tests.support.boards import until
from tests.support.conductors import Cluster, Conductor, lives

OWN = RunLimits(isolation="process")


def posted(**limits: Any) -> dict[str, Any]:
    """A posting's policies, with these limits over a process of its own."""
    return {"policies": Policies(run=RunLimits(**limits).over(OWN))}


def worker_of(conductor: Conductor) -> int:
    """The process that claims jobs: the only one that had started when nothing was posted yet."""
    (worker,) = conductor.workers()
    return worker.pid


def test_each_job_has_a_process_of_its_own_that_ends_with_it(both: Cluster) -> None:
    claims = worker_of(both.start())
    ids = both.post_many("quick", count=6, posting=posted())
    both.succeeded(*ids)
    pids = [both.started("only", job=job_id).pid for job_id in ids]
    assert len({*pids, claims}) == 7
    both.until(lambda: not any(lives(pid) for pid in pids), "their processes have ended")
    both.check_evidence(ids)
    assert {job_id: both.job(job_id).epoch for job_id in ids} == dict.fromkeys(ids, 1)
    assert both.context.board.count().claimed == 0


def test_others_share_the_workers_process_meanwhile(embedded: Cluster) -> None:
    claims = worker_of(embedded.start())
    own = embedded.post("steps", hold=1, gate=embedded.gate(), posting=posted())
    plain = embedded.post("quick")
    embedded.succeeded(plain)
    assert embedded.started("only", job=plain).pid == claims
    assert embedded.started("step1", job=own).pid != claims
    embedded.open(embedded.gate())
    embedded.succeeded(own)
    assert embedded.job(plain).usage is None


def test_a_spare_waits_from_the_start_and_more_while_such_jobs_come(embedded: Cluster) -> None:
    alice = embedded.start()
    embedded.succeeded(embedded.post("quick"))
    embedded.until(lambda: len(alice.alone()) == 1, "one spare waits, for there are types of such jobs")
    spare = {worker.pid for worker in alice.alone()}
    job_id = embedded.post("quick", posting=posted())
    embedded.succeeded(job_id)
    assert embedded.started("only", job=job_id).pid in spare
    embedded.until(lambda: len(alice.alone()) == SPARES, "more of them wait")
    assert len(alice.workers()) == 1
    alice.signal(signal.SIGTERM)
    assert alice.wait() == 0


def test_no_more_run_at_once_than_the_worker_has_slots(embedded: Cluster) -> None:
    embedded.start(conductor__jobs=2)
    ids = embedded.post_many("steps", count=4, hold=1, gate=embedded.gate(), posting=posted())
    embedded.started("step1", times=2)
    plain = embedded.post("quick")  # whose turn comes when there is a slot again
    alone = [job_id for job_id in ids if embedded.evidence(job=job_id)]
    assert len(alone) == 2
    embedded.cancel(alone[0])
    embedded.open(embedded.gate())
    embedded.succeeded(*(set(ids) - {alone[0]}), plain)
    # From the first line to the last: that of the one that is cancelled tells that it is undone.
    lines = [embedded.evidence(job=job_id) for job_id in ids]
    spans = [(those[0].at, those[-1].at) for those in lines if those]
    assert max(sum(first <= began <= last for first, last in spans) for began, _ in spans) == 2


def test_draining_waits_for_them(anywhere: Cluster) -> None:
    ids = [*anywhere.post_many("quick", count=3, posting=posted()), anywhere.post("quick")]
    assert anywhere.start(once=True).wait() == 0
    anywhere.succeeded(*ids)


def test_one_that_crashes_the_interpreter_harms_no_other_and_is_set_aside(anywhere: Cluster) -> None:
    alice = anywhere.start()
    claims = worker_of(alice)
    other = anywhere.post("steps", hold=2, gate=anywhere.gate())
    anywhere.started("step2", job=other)
    job_id = anywhere.post("segfault")
    (job,) = anywhere.ended(job_id)
    anywhere.open(anywhere.gate())
    anywhere.succeeded(other)
    assert (job.state, job.deaths) == (JobState.FAILED, 5)
    assert job.error is not None
    assert job.error.kind == "OwnersDied"
    assert "killed by SIGSEGV" in alice.log
    assert lives(claims)
    assert anywhere.job(other).epoch == 1


def test_one_that_leaves_by_itself_is_resumed_like_any_other(embedded: Cluster) -> None:
    embedded.start()
    (job,) = embedded.ended(embedded.post("deadly", how="exit", posting=posted()))
    assert (job.state, job.deaths) == (JobState.FAILED, 5)


def test_one_that_takes_too_much_memory_is_killed_and_says_so(anywhere: Cluster) -> None:
    alice = anywhere.start()
    claims = worker_of(alice)
    job_id = anywhere.post("hog", mib=200)
    (job,) = anywhere.ended(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.kind == "MemoryLimit"
    assert "its limit is 143 MiB" in job.error.message
    assert not lives(anywhere.started("hog", job=job_id).pid)
    assert lives(claims)
    assert job.deaths == 0
    anywhere.until(lambda: not anywhere.context.board.known([job_id]), "it is off the board")
    anywhere.until(lambda: (anywhere.job(job_id).usage or {}).get("peak", 0) > 150e6, "its peak is kept")
    assert anywhere.ends(job_id) == ["failed"]


def test_what_is_ended_by_force_is_retried_as_its_policy_says(anywhere: Cluster) -> None:
    anywhere.start()
    again = Policies(retry=RetryPolicy(attempts=2, delay=0.1), holds=(Hold(name="room"),))
    job_id = anywhere.post("hog", mib=200, posting={"policies": again})
    (job,) = anywhere.ended(job_id)
    assert (job.state, job.attempt) == (JobState.FAILED, 2)
    assert job.error is not None
    assert job.error.kind == "MemoryLimit"
    assert len(anywhere.evidence(job=job_id, atom="before", what="end")) == 2
    other = anywhere.post("quick", posting={"policies": Policies(holds=(Hold(name="room"),))})
    anywhere.succeeded(other)  # what the killed one held is free


def test_memory_within_the_limit_is_no_matter(embedded: Cluster) -> None:
    embedded.start()
    embedded.succeeded(embedded.post("quick", posting=posted(memory=2 * LEAST_MEMORY)))


def test_a_task_that_heeds_nothing_is_killed_when_its_time_is_up_and_undone(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("hang", posting={"timeout": 1.0})
    (job,) = anywhere.ended(job_id, within=15)
    assert job.state is JobState.TIMED_OUT
    assert [line.atom for line in anywhere.evidence(job=job_id, what="revert")] == ["hang", "before"]
    assert not lives(anywhere.started("hang", job=job_id).pid)
    assert job.deaths == 0
    anywhere.check_evidence([job_id])


def test_one_that_lets_no_other_thread_run_is_killed_in_time_too(embedded: Cluster) -> None:
    """It gives no pulse meanwhile, and its lease is kept all the same."""
    alice = embedded.start(conductor__lease=1)
    began = time.monotonic()
    job_id = embedded.post("greedy", posting={"timeout": 4.0, **posted(grace=0.5)})
    (job,) = embedded.ended(job_id, within=20)
    assert job.state is JobState.TIMED_OUT
    assert 4.0 < time.monotonic() - began < 12.0
    assert "has not answered" not in alice.log
    assert len(embedded.evidence(job=job_id, what="start")) == 1


def test_cancelling_one_that_heeds_nothing_takes_the_grace_and_undoes_it(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("hang")
    anywhere.started("hang", job=job_id)
    anywhere.cancel(job_id)
    (job,) = anywhere.ended(job_id, within=10)
    assert job.state is JobState.CANCELLED
    assert [line.atom for line in anywhere.evidence(job=job_id, what="revert")] == ["hang", "before"]
    assert job.error is not None
    assert "was undone" in job.error.message


def test_cancelling_it_without_undoing_keeps_what_was_done(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("hang")
    embedded.started("hang", job=job_id)
    embedded.cancel(job_id, CancelMode.KEEP)
    (job,) = embedded.ended(job_id, within=10)
    assert job.state is JobState.CANCELLED
    assert not embedded.evidence(job=job_id, what="revert")
    assert job.error is not None
    assert "its processes were killed" in job.error.message
    assert embedded.atoms(job_id)["before"].state == "SUCCESS"


def test_a_task_that_waits_for_its_child_stops_at_once_since_that_gets_a_sigterm(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("waits_for_child")
    embedded.started("wait", job=job_id)
    embedded.cancel(job_id)
    (job,) = embedded.ended(job_id, within=5)  # of a grace of 20 s
    assert job.state is JobState.CANCELLED
    assert len(embedded.evidence(job=job_id, what="revert")) == 1


def test_undoing_may_take_longer_than_the_grace_but_can_be_cut_short(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("stuck_revert", gate=embedded.gate())
    embedded.started("stuck", job=job_id)
    embedded.cancel(job_id)
    embedded.until(lambda: embedded.evidence(job=job_id, what="revert"), "it is being undone")
    time.sleep(2.0)  # twice the grace: that it goes on is the point
    assert embedded.job(job_id).state is JobState.RUNNING
    embedded.cancel(job_id, CancelMode.KEEP)
    (job,) = embedded.ended(job_id, within=10)
    assert job.state is JobState.CANCELLED
    assert len(embedded.evidence(job=job_id, what="revert")) == 1


def test_the_children_of_its_tasks_are_killed_with_it(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("hang", children=2)
    anywhere.started("hang", job=job_id)
    children = [int(line.atom) for line in anywhere.evidence(job=job_id, what="child")]
    assert len(children) == 3
    assert all(lives(pid) for pid in children)
    anywhere.cancel(job_id)
    anywhere.ended(job_id, within=10)
    anywhere.until(lambda: not any(lives(pid) for pid in children), "all children are gone", within=5)


def test_nothing_that_it_started_outlives_its_process(embedded: Cluster) -> None:
    embedded.start(conductor__lease=30)
    job_id = embedded.post("hang", children=1)
    own = embedded.started("hang", job=job_id).pid
    children = [int(line.atom) for line in embedded.evidence(job=job_id, what="child")]
    os.kill(own, signal.SIGKILL)
    embedded.until(lambda: not any(lives(pid) for pid in children), "all children are gone", within=5)
    embedded.started("hang", job=job_id, times=2)
    assert embedded.job(job_id).deaths == 1


SLEEPS = [["sleep", str(seconds)] for seconds in range(90, 96)]


def escaped(conductor: Conductor) -> list[psutil.Process]:
    """What the escape job has started, as soon as all of it is there."""
    found: list[psutil.Process] = []

    def all_there() -> bool:
        below = psutil.Process(conductor.process.pid).children(recursive=True)
        found[:] = [process for process in below if _argv(process) in SLEEPS]
        return len(found) == len(SLEEPS)

    until(all_there, within=10)
    return found


def _argv(process: psutil.Process) -> list[str]:
    try:
        argv = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return [Path(argv[0]).name, *argv[1:]] if argv else []


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(lives(process.pid) for process in processes)


@pytest.mark.parametrize(
    "how", ["ends", "is cancelled", "is killed", "conductor killed", "fork server killed"]
)
def test_nothing_escapes_whatever_session_it_makes_for_itself(embedded: Cluster, how: str) -> None:
    alice = embedded.start(conductor__lease=30)
    gate = embedded.gate() if how == "ends" else ""
    job_id = embedded.post("escape", gate=gate)
    own = embedded.started("escape", job=job_id).pid
    left = escaped(alice)
    assert {os.getsid(process.pid) for process in left} - {own}
    if how == "ends":
        embedded.open(gate)
        embedded.succeeded(job_id)
    elif how == "is cancelled":
        embedded.cancel(job_id)
        (job,) = embedded.ended(job_id)
        assert job.state is JobState.CANCELLED
        assert all_gone(left)
    elif how == "is killed":
        os.kill(own, signal.SIGKILL)
        embedded.started("escape", job=job_id, times=2)
        assert all_gone(left)
    elif how == "conductor killed":
        alice.kill()
    else:
        os.kill(psutil.Process(alice.process.pid).children()[0].pid, signal.SIGKILL)
    until(lambda: all_gone(left), within=5)


def test_the_conductor_takes_along_what_left_the_session_when_it_leaves(embedded: Cluster) -> None:
    alice = embedded.start()
    job_id = embedded.post("escape", gate=embedded.gate())
    embedded.started("escape", job=job_id)
    left = escaped(alice)
    alice.signal(signal.SIGTERM)
    until(lambda: "stopping" in alice.log)
    alice.signal(signal.SIGTERM)
    alice.wait()
    assert all_gone(left)


def test_what_it_started_is_gone_before_its_job_may_go_on(embedded: Cluster, tmp_path: Path) -> None:
    alice = embedded.start("alice")
    again = Policies(run=OWN, retry=RetryPolicy(attempts=2, delay=0.0))
    options = {"gate": embedded.gate(), "commands": str(tmp_path / "commands")}
    job_id = embedded.post("slow_to_leave", **options, posting={"policies": again})
    own = embedded.started("leaves", job=job_id).pid
    nodes.drain(embedded.context, "alice")
    embedded.until(lambda: "is drained" in alice.log, "alice takes no more jobs")
    embedded.start("bob")
    embedded.open(embedded.gate())
    embedded.started("leaves", job=job_id, times=2)
    assert lives(own), "it has left in time, so that this shows nothing"
    embedded.succeeded(job_id)
    assert not embedded.evidence(job=job_id, what="beside")


def test_a_guardian_that_is_killed_takes_the_session_along(embedded: Cluster) -> None:
    embedded.start(conductor__lease=30)
    job_id = embedded.post("hang", children=1)
    own = embedded.started("hang", job=job_id).pid
    children = [int(line.atom) for line in embedded.evidence(job=job_id, what="child")]
    guardian = psutil.Process(own).ppid()
    assert psutil.Process(guardian).name() == GUARDIAN
    os.kill(guardian, signal.SIGKILL)
    embedded.started("hang", job=job_id, times=2)
    until(lambda: not any(lives(pid) for pid in (own, *children)), within=5)
    assert embedded.job(job_id).deaths == 1


def test_a_guardian_of_a_conductor_that_is_nice_is_not_taken_for_a_process_with_threads() -> None:
    """Python 3.12 and 3.13 count the words of /proc/self/stat, where the nice value stands before the threads."""
    code = (
        "import os; os.nice(5)\n"
        "from jobrunner.conductor.isolation.guardian import NAME; from jobrunner.conductor.parent import call_it\n"
        "call_it(NAME); os._exit(0) if not os.fork() else os.wait()"
    )
    forked = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True)
    assert (forked.returncode, forked.stderr) == (0, "")


def test_one_that_does_nothing_looks_dead_and_one_that_computes_does_not(anywhere: Cluster) -> None:
    anywhere.start()
    busy = anywhere.post("burn", seconds=4.0, posting=posted(dead_after=2.0, dead_below=5.0))
    idle = anywhere.post("hang", children=1, posting=posted(dead_after=2.0, dead_below=5.0, grace=0.2))
    (job,) = anywhere.ended(idle, within=15)
    assert job.state is JobState.DEAD
    assert job.error is not None
    assert job.error.kind == "LookedDead"
    assert not anywhere.evidence(job=idle, what="revert")
    children = [int(line.atom) for line in anywhere.evidence(job=idle, what="child")]
    anywhere.until(lambda: not any(lives(pid) for pid in children), "its children are gone", within=5)
    anywhere.succeeded(busy)
    anywhere.until(lambda: not anywhere.context.board.known([idle]), "it is off the board")
    assert anywhere.ends(idle) == ["dead"]


@pytest.mark.thorough
def test_what_it_uses_is_kept_while_it_runs_and_when_it_has_ended(both: Cluster) -> None:
    both.start()
    job_id = both.post("burn", seconds=2.0, gate=both.gate())
    both.until(lambda: both.job(job_id).usage, "figures of a running job", within=20)
    running = both.job(job_id)
    assert running.state is JobState.RUNNING
    assert running.usage is not None
    assert running.usage["memory"] > 20e6
    (node,) = [node for node in _nodes(both) if node.stopped_ms is None]
    assert node.report["isolated"]["running"] == 1
    assert node.report["isolated"]["memory"] > 20e6
    both.open(both.gate())
    both.succeeded(job_id)
    both.until(lambda: (both.job(job_id).usage or {}).get("memory") == 0, "its last figures", within=5)
    ended = both.job(job_id).usage
    assert ended is not None
    assert ended["cpu"] >= 1.9  # ticks are rounded
    assert ended["peak"] >= running.usage["peak"]


@pytest.mark.thorough
def test_a_later_owners_figures_go_on_from_the_former_ones(embedded: Cluster) -> None:
    embedded.start(conductor__lease=30)
    job_id = embedded.post("burn", seconds=1.5, gate=embedded.gate())
    own = psutil.Process(embedded.started("burn", job=job_id).pid)
    embedded.until(lambda: sum(own.cpu_times()[:2]) > 1.4, "it has worked", within=10)
    own.kill()
    embedded.started("burn", job=job_id, times=2)
    assert (embedded.job(job_id).usage or {}).get(
        "cpu", 0
    ) > 1.4  # written before anybody else could begin it
    embedded.open(embedded.gate())
    embedded.succeeded(job_id)
    embedded.until(lambda: (embedded.job(job_id).usage or {}).get("cpu", 0) > 2.9, "two owners' figures")


def test_what_a_short_job_has_used_is_known_though_nobody_looked(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("burn", seconds=0.3)
    embedded.succeeded(job_id)
    embedded.until(lambda: (embedded.job(job_id).usage or {}).get("cpu", 0) >= 0.29, "its figures", within=5)
    assert (embedded.job(job_id).usage or {}).get("peak", 0) > 20e6


def test_all_of_it_ends_with_its_conductor_and_another_resumes(both: Cluster) -> None:
    alice = both.start("alice")
    job_id = both.post("steps", hold=2, gate=both.gate(), posting=posted())
    own = both.started("step2").pid
    both.start("bob")
    alice.kill()
    both.until(lambda: not lives(own), "its process has ended", within=3)
    both.started("step2", times=2)
    both.open(both.gate())
    both.succeeded(job_id)
    assert both.owner_changes(job_id) == ["alice", "bob"]
    both.check_evidence([job_id])


def test_it_is_suspended_when_the_conductor_leaves(anywhere: Cluster) -> None:
    alice = anywhere.start("alice")
    job_id = anywhere.post("steps", hold=2, gate=anywhere.gate(), heed=True, posting=posted())
    anywhere.started("step2")
    alice.signal(signal.SIGTERM)
    assert alice.wait() == 0
    assert anywhere.job(job_id).state is JobState.SUSPENDED
    anywhere.open(anywhere.gate())
    anywhere.start("bob")
    anywhere.succeeded(job_id)
    assert anywhere.job(job_id).deaths == 0


def test_a_killed_worker_leaves_its_jobs_own_processes_running(embedded: Cluster) -> None:
    alice = embedded.start(conductor__lease=30)
    claims = worker_of(alice)
    job_id = embedded.post("steps", hold=2, gate=embedded.gate(), posting=posted())
    embedded.started("step2")
    os.kill(claims, signal.SIGKILL)
    embedded.until(lambda: Cluster._ready(alice) == 2, "another worker")
    embedded.open(embedded.gate())
    embedded.succeeded(job_id)
    assert (embedded.job(job_id).epoch, embedded.job(job_id).deaths) == (1, 0)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run jobs as others")


def all_may_read(path: str | Path) -> bool:
    """Whether other users may read what is there."""
    return all(place.stat().st_mode & 0o001 for place in Path(path).resolve().parents)


needs_readable_code = pytest.mark.skipif(
    not all(map(all_may_read, (os.__file__, sys.executable, __file__))),
    reason="other users may not read this interpreter, or jobrunner",
)


@root_only
def test_who_becomes_another_user_has_no_way_back() -> None:
    found = account_for("nobody", None, allowed=["nobody"])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(found)
            with open("/proc/self/status") as status:
                no_new = next(line.split()[1] for line in status if line.startswith("NoNewPrivs"))
            way_back = "none"
            try:
                os.setuid(0)
                way_back = "setuid"
            except PermissionError:
                pass
            seen = [os.getresuid(), os.getresgid(), os.getgroups(), no_new, way_back, os.environ["HOME"]]
            os.write(writer, json.dumps(seen).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    uid, gid = found.uid, found.gid
    assert json.loads(os.read(reader, 4096)) == [
        [uid] * 3,
        [gid] * 3,
        list(found.groups),
        "1",
        "none",
        found.home,
    ]
    os.close(reader)
    os.close(writer)


def test_who_is_not_root_can_run_nothing_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotAllowedHere, match="does not run as root"):
        account_for("nobody", None, allowed=["nobody"])


@root_only
@needs_readable_code
@pytest.mark.redis
@pytest.mark.mariadb
def test_it_runs_as_another_user_for_good(networked: Cluster) -> None:
    nobody = pwd.getpwnam("nobody")
    networked.start(conductor__run_as="nobody")
    job_id = networked.post("who_am_i", posting=posted(user="nobody"))
    networked.succeeded(job_id)
    me = networked.job(job_id).result["me"]
    assert me["ids"] == [nobody.pw_uid] * 3 + [nobody.pw_gid] * 3
    assert me["groups"] == sorted(os.getgrouplist("nobody", nobody.pw_gid))
    assert (me["home"], me["user"]) == (nobody.pw_dir, "nobody")
    assert (me["can_return"], me["no_new_privs"]) == (False, "1")
    assert me["loaded_as"] == nobody.pw_uid
    assert me["session"] == me["pid"]


@root_only
@needs_readable_code
@pytest.mark.redis
@pytest.mark.mariadb
def test_it_ends_with_its_conductor_though_it_is_another_users(networked: Cluster) -> None:
    alice = networked.start(conductor__run_as="nobody")
    job_id = networked.post("burn", seconds=30.0, evidence="", posting=posted(user="nobody"))
    networked.in_state(job_id, JobState.RUNNING)
    own = next(worker for worker in alice.alone() if worker.username() == "nobody")
    alice.kill()
    networked.until(lambda: not lives(own.pid), "its process has ended", within=3)


@pytest.mark.thorough
@root_only
@needs_readable_code
@pytest.mark.redis
@pytest.mark.mariadb
def test_nothing_escapes_as_another_user_either(networked: Cluster) -> None:
    alice = networked.start(conductor__run_as="nobody")
    job_id = networked.post("escape", evidence="", posting=posted(user="nobody", grace=0.5))
    left = escaped(alice)
    assert {process.username() for process in left} == {"nobody"}
    networked.cancel(job_id)
    (job,) = networked.ended(job_id)
    assert job.state is JobState.CANCELLED
    assert all_gone(left)


@pytest.mark.parametrize(
    ("user", "group", "why"),
    [
        ("daemon", None, "does not allow to run jobs as daemon"),
        ("nobody", "root", "nobody is not of that group"),
        ("nobody", "no-such-group", "no such user or group"),
    ],
)
@root_only
def test_who_is_not_allowed_is_not_run_as_and_the_job_says_so(
    embedded: Cluster, user: str, group: str | None, why: str
) -> None:
    embedded.start(conductor__run_as="nobody")
    job_id = embedded.post("who_am_i", posting=posted(user=user, group=group))
    embedded.until(lambda: embedded.job(job_id).note, "it says why it waits")
    job = embedded.job(job_id)
    assert job.state is JobState.WAITING
    assert job.epoch == 0
    assert why in str(job.note)
    embedded.succeeded(embedded.post("quick"))


def _nodes(cluster: Cluster) -> list[Any]:
    from jobrunner.persistence.nodes import list_nodes

    return list_nodes(cluster.context.database)
