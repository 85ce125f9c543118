"""Faults of rows: somebody corrupts or deletes what SQL holds of a job. Only jobs that are set apart for it are hit."""

from __future__ import annotations

from jobrunner.model import flow_id
from tests.chaos.case import Harm
from tests.chaos.faults import Fault, NothingToBreak
from tests.chaos.harm_servers import SQL_ERRORS, OfServer
from tests.chaos.machines import now_us

NO_STATE = "a state that is none"
"""It is gone again when the job's owner settles the job, which does not read its row."""
WAYS = {
    "parameters that are no JSON": ("UPDATE jobs SET parameters = '{oops' WHERE id = %s", "job"),
    NO_STATE: ("UPDATE jobs SET state = 'NONSENSE' WHERE id = %s", "job"),
    "capabilities that are no list": ("UPDATE jobs SET capabilities = '7' WHERE id = %s", "job"),
    "a type that nobody has": ("UPDATE jobs SET type = 'never_registered' WHERE id = %s", "job"),
    "its row deleted": ("DELETE FROM jobs WHERE id = %s", "job"),
    "atoms' meta data of another shape": (
        "UPDATE atomdetails SET meta = '[1]' WHERE parent_uuid = %s",
        "flow",
    ),
    "atoms' results of another shape": (
        "UPDATE atomdetails SET results = '{\"odd\": [1]}', failure = '7' WHERE parent_uuid = %s",
        "flow",
    ),
    "a state of atoms that is none": (
        "UPDATE atomdetails SET state = 'NONSENSE' WHERE parent_uuid = %s",
        "flow",
    ),
    "its atoms deleted": ("DELETE FROM atomdetails WHERE parent_uuid = %s", "flow"),
    "its flow's meta data of another shape": ("UPDATE flowdetails SET meta = '[1]' WHERE uuid = %s", "flow"),
    "its flow deleted": ("DELETE FROM flowdetails WHERE uuid = %s", "flow"),
}


class CorruptRows(Fault):
    """The rows of one job are corrupted or deleted, one way or another."""

    name = "corrupt rows"
    weight = 16
    lasts = (0.0, 0.0)

    def start(self) -> str:
        if id(self.world.stage.store) in OfServer.busy:
            raise NothingToBreak("the server has another fault")
        victims = [
            posted.job
            for posted in self.world.posted().values()
            if posted.kind.victim and posted.job not in self.world.harms
        ]
        try:
            job = next((job for job in victims if self._is_open(job)), None)
            if job is None:
                raise NothingToBreak("no job that is set apart is open")
            what = self.rng.choice(sorted(WAYS))
            statement, of = WAYS[what]
            # Before it is done: should the answer be lost, it may have been.
            self.world.harms[job] = Harm(job=job, what=what, at_us=now_us())
            self.world.stage.query(statement, (job if of == "job" else flow_id(job, 1),))
        except SQL_ERRORS as error:
            raise NothingToBreak(str(error)) from error
        return f"{what}, of job {job}"

    def _is_open(self, job: str) -> bool:
        rows = self.world.stage.query("SELECT state FROM jobs WHERE id = %s", (job,))
        return bool(rows) and rows[0][0] in ("WAITING", "RUNNING", "SUSPENDED")


KINDS: tuple[type[Fault], ...] = (CorruptRows,)
