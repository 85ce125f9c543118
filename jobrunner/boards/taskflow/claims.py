"""The claims that a board object made, and the thread that keeps their leases while its process lives."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from dataclasses import dataclass, field

from jobrunner.boards.taskflow.postings import Postings
from jobrunner.errors import JobrunnerError

log = logging.getLogger(__name__)

KEEPS_A_LEASE = 4
"""A lease is kept so many times before it would run out: three may fail."""
MAX_OWNER = 255
CLOSE_PATIENCE_S = 10.0


def new_owner(who: str) -> str:
    """An identity for one claim, which tells who made it; raises ValueError if the name is too long.

    ASCII, since boards compare it byte by byte.
    """
    owner = f"{uuid.uuid4().hex}/{json.dumps(who)[1:-1]}"
    if len(owner) > MAX_OWNER:
        raise ValueError(f"Job applicant must have fewer characters: {who[:40]!r}...")
    return owner


def who_is(owner: str) -> str:
    """The name under which a claim was made."""
    try:
        return str(json.loads(f'"{owner.partition("/")[2]}"'))
    except ValueError:
        return owner


@dataclass(slots=True, eq=False)
class Claim:
    """A claim that this process made, until it is settled: consumed, abandoned or trashed."""

    job_id: str
    who: str
    lease: float
    """Seconds."""
    is_kept: bool
    """Whether its lease is kept here; one that was made with an expiry is the program's business."""
    is_lost: bool = False
    owner: str = field(init=False)

    def __post_init__(self) -> None:
        self.owner = new_owner(self.who)


class Claims:
    """The unsettled claims of one board object. Safe for several threads."""

    def __init__(self) -> None:
        self._by_job: dict[str, Claim] = {}
        self._lock = threading.Lock()

    def add(self, claim: Claim) -> None:
        with self._lock:
            self._by_job[claim.job_id] = claim

    def settle(self, claim: Claim) -> None:
        """Its run is over, whether or not it is still ours."""
        with self._lock:
            if self._by_job.get(claim.job_id) is claim:
                del self._by_job[claim.job_id]

    def get(self, job_id: str) -> Claim | None:
        with self._lock:
            return self._by_job.get(job_id)

    def kept(self) -> list[Claim]:
        """Those whose leases are to be kept."""
        with self._lock:
            return [claim for claim in self._by_job.values() if claim.is_kept and not claim.is_lost]

    def lose(self, claims: list[Claim]) -> list[Claim]:
        """Note that these are lost; those of them that are not settled by now."""
        with self._lock:
            lost = [claim for claim in claims if self._by_job.get(claim.job_id) is claim]
            for claim in lost:
                claim.is_lost = True
            return lost


class LeaseKeeper:
    """Keeps the leases of claims until it is stopped.

    :param lease: seconds; the shortest lease that is kept
    """

    def __init__(self, postings: Postings, claims: Claims, *, lease: float) -> None:
        self._postings = postings
        self._claims = claims
        self._pause = lease / KEEPS_A_LEASE
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobrunner-taskflow-leases", daemon=True)
        self._is_away = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Keep no more; waits for a call that is under way. Stopping twice is fine."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_PATIENCE_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._pause):
            try:
                self._keep()
                self._is_away = False
            except JobrunnerError as error:
                if not self._is_away:
                    log.error("Leases cannot be kept, it is tried again: %s", error)
                self._is_away = True
            except Exception:
                log.exception("Keeping leases failed; it is tried again")

    def _keep(self) -> None:
        claims = self._claims.kept()
        for lease in {claim.lease for claim in claims}:
            alike = [claim for claim in claims if claim.lease == lease]
            gone = self._postings.keep([(claim.job_id, claim.owner) for claim in alike], lease)
            for claim in self._claims.lose([claim for claim in alike if claim.job_id in gone]):
                log.error(
                    "The lease of job %s was lost: others may run it, and what %s still does with it does not count.",
                    claim.job_id,
                    claim.who,
                )
