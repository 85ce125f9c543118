"""What happens in the demo, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobrunner import times
from jobrunner.cli.demo.processes import Conductor
from jobrunner.cli.demo.source import Source
from jobrunner.cli.demo.stage import LEASE_S, Stage
from jobrunner.cli.demo.view import View
from jobrunner.errors import JobrunnerError
from jobrunner.jobs import look
from jobrunner.jobs.post import post
from jobrunner.model import AtomRecord, Job, Posting

JOB_TYPE = "backup_directory"
FINISHED_BEFORE = 2
"""Atoms that have to be finished before the conductor is killed."""
INTO_THE_ATOM_S = 0.4
"""How far the atom under way has to be: in its middle, not at its border."""
WORKERS_END_S = 5.0
SLOWEST_BYTES_A_S = 5_000_000
PATIENCE_S = 40.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """What was seen. ``before`` is what the store said when all processes of the killed conductor were gone."""

    killed: Conductor
    survivor: Conductor
    exit_code: int
    workers_left: int
    killed_ms: int
    lease: float
    job_before: Job
    atoms_before: Sequence[AtomRecord]
    job: Job
    atoms: Sequence[AtomRecord]

    @property
    def posted_ms(self) -> int:
        return self.job.created_ms

    @property
    def interrupted(self) -> list[AtomRecord]:
        """The atoms that were under way when the conductor died."""
        return [atom for atom in self.atoms_before if atom.state == "RUNNING"]


def tell(stage: Stage, source: Source, view: View) -> Story:
    """Let it happen; raises JobrunnerError if it cannot go on."""
    patience = PATIENCE_S + source.archive_bytes / SLOWEST_BYTES_A_S
    view.say("starting two conductors, demo-a and demo-b")
    stage.start_conductors()
    view.say(" and ".join(f"{one.name} (pid {one.pid})" for one in stage.conductors) + " watch the job board")
    job_id = _post(stage, source)
    view.say(f"posted {JOB_TYPE} of {source.path} as job {job_id[:8]}")

    middle = stage.wait_for(
        lambda: _middle(stage, job_id, view), patience, "The flow did not come to its middle."
    )
    killed = stage.conductor(middle.node)
    survivor = next(conductor for conductor in stage.conductors if conductor is not killed)
    killed_ms = times.now_ms()
    exit_code = killed.kill()
    view.say(f"kill -9 {killed.pid}: {killed.name}, which ran the job, is dead", alarm=True)
    workers_left = killed.workers_left(WORKERS_END_S)
    job_before, atoms_before = _look(stage, job_id, view)
    under_way = ", ".join(atom.name for atom in atoms_before if atom.state == "RUNNING")
    view.say(f"interrupted in: {under_way}. {killed.name}'s lease of {LEASE_S:g} s has to run out first")

    stage.wait_for(
        lambda: _resumed(stage, job_before, view), patience, f"{survivor.name} did not resume the job."
    )
    waited = (times.now_ms() - killed_ms) / 1000
    view.say(f"{survivor.name} took the job over after {waited:.1f} s and goes on with: {under_way}")
    job, atoms = stage.wait_for(lambda: _end(stage, job_id, view), patience, "The job did not end.")
    view.say(f"the job has ended: {job.state}")
    return Story(
        killed=killed,
        survivor=survivor,
        exit_code=exit_code,
        workers_left=workers_left,
        killed_ms=killed_ms,
        lease=LEASE_S,
        job_before=job_before,
        atoms_before=atoms_before,
        job=job,
        atoms=atoms,
    )


def _post(stage: Stage, source: Source) -> str:
    parameters = {
        "source": str(source.path),
        "destination": str(stage.directory / "backups"),
        "compression": "none",  # so that writing, hashing and reading back take equally long
        "exclude": [*source.exclude, f"{stage.directory.name}/"],
        "max_rate": str(source.rate),
    }
    return post(stage.context, Posting(type=JOB_TYPE, parameters=parameters)).job_id


def _look(stage: Stage, job_id: str, view: View) -> tuple[Job, list[AtomRecord]]:
    job = stage.context.store.get(job_id)
    atoms = look.atoms(stage.context, [job])[job.id]
    view.show(job, atoms, stage.conductors)
    return job, atoms


def _middle(stage: Stage, job_id: str, view: View) -> Job | None:
    """The job, when some of its atoms are finished and one is in its middle."""
    job, atoms = _look(stage, job_id, view)
    if job.state.is_terminal:
        reason = job.error.message if job.error else "nothing was left to interrupt."
        raise JobrunnerError(f"The job ended as {job.state} before its conductor could be killed: {reason}")
    now_ms = times.now_ms()
    finished = sum(atom.state == "SUCCESS" for atom in atoms)
    in_its_middle = any(
        atom.state == "RUNNING" and atom.started_ms and now_ms - atom.started_ms > INTO_THE_ATOM_S * 1000
        for atom in atoms
    )
    return job if finished >= FINISHED_BEFORE and in_its_middle else None


def _resumed(stage: Stage, before: Job, view: View) -> Job | None:
    """The job, when another owner has begun one of its atoms."""
    job, atoms = _look(stage, before.id, view)
    begun = any((atom.epoch or 0) > before.epoch for atom in atoms)
    return job if begun or job.state.is_terminal else None


def _end(stage: Stage, job_id: str, view: View) -> tuple[Job, list[AtomRecord]] | None:
    job, atoms = _look(stage, job_id, view)
    return (job, atoms) if job.state.is_terminal else None
