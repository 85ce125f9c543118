"""The reconciler: makes the board fit the store again, whatever happened to either.

It runs on one node at a time, under a lease. It only ever moves the board towards what SQL says at that moment:

- what is open in SQL and missing on the board is posted (posting what is there already changes nothing). A job that
  runs, and that the board forgot, is left alone until the next look, some seconds later: its conductor's lease keeper
  puts it there itself. If that conductor is gone the job is posted at once;
- what stands on the board and is terminal or parked in SQL, or unknown to it, is withdrawn. A job that a person retries
  or resumes between the look and the withdrawal is posted again by the next round;
- what waits on the board for another node than in SQL is put where it belongs;
- what a conductor that is gone still has claimed, since its leases do not end, is handed back (unkept.py);
- what no living node can claim gets a note that says so;
- what awaits a signal that is there is offered: whoever should have done that died, or was too early;
- who waits for a semaphore that has room is called, and permits that nobody ended are ended.

Beside that it ends the jobs that expired while nobody could claim them, and lets jobs go on, or skips them, that come
after others which have ended, if whoever ended those did not live to do so (jobs/following.py). These are the only
states that it changes, under locks on the jobs' rows, so it cannot undo a newer one. A round reads every open job, so
after a long one the next has to wait: at most a twentieth of the time goes into it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobrunner import times
from jobrunner.boards.board import Board, BoardRow
from jobrunner.conductor.reconciling.failover import move
from jobrunner.conductor.reconciling.unkept import UnkeptClaims
from jobrunner.conductor.reconciling.waker import Waker
from jobrunner.jobs.following import follow, follow_all
from jobrunner.persistence.nodes import conductors_gone, list_nodes, take_lease
from jobrunner.persistence.ownership.overdue import end_overdue
from jobrunner.persistence.ownership.placing import pins
from jobrunner.persistence.ownership.unowned import note_waiting, unexplained
from jobrunner.persistence.permits.passing import call_late, sweep
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.store import Store

log = logging.getLogger(__name__)

LEASE_NAME = "reconciler"
PAGE = 500
"""Jobs that are looked for on the board at once, by their ids."""
ROWS = 200
"""Rows of the board that are held at once: some 2 KB each."""
SHARE = 20
"""A round is followed by a pause of so many times its length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What a round did."""

    posted: int = 0
    withdrawn: int = 0
    noted: int = 0
    called: int = 0
    woken: int = 0
    followed: int = 0


class Reconciler:
    """Compares store and board, a page at a time.

    :param holder: the identity of the conductor that runs it
    :param lease: seconds for which the leadership lasts without being renewed
    """

    def __init__(self, database: Database, board: Board, *, holder: str, lease: float) -> None:
        self._database = database
        self._store = Store(database)
        self._board = board
        self._holder = holder
        self._lease = lease
        self._not_before = 0.0
        self._not_expired_before = 0.0
        self._forgotten: set[str] = set()
        self._unkept = UnkeptClaims(database, board)

    def run_if_leader(self) -> Reconciled | None:
        """One round, if this conductor is, or becomes, the leader and the last one is long enough ago; else None."""
        if not take_lease(self._database, LEASE_NAME, self._holder, seconds=self._lease):
            self._forgotten.clear()
            return None
        self._expire()
        began = time.monotonic()
        if began < self._not_before:
            self._repost_forgotten()
            return None
        done = Reconciled(
            followed=self.follow_ended(),
            posted=self.repost_missing(),
            withdrawn=self.withdraw_finished(),
            noted=self.note_unclaimable(),
            called=self.call_waiting(),
            woken=Waker(self._database, self._board).sweep(),
        )
        self._not_before = time.monotonic() + SHARE * (time.monotonic() - began)
        return done

    def _expire(self) -> None:
        """End what expired; more often than a round, for that is quick."""
        began = time.monotonic()
        if began >= self._not_expired_before:
            self.end_overdue()
            self._not_expired_before = time.monotonic() + SHARE * (time.monotonic() - began)

    def end_overdue(self) -> int:
        """End the jobs that nobody started before they expired, and take them off the board; how many."""
        ended = 0
        after: int | None = 0
        while after is not None:
            found = end_overdue(self._database, after=after)
            if found.expired:
                log.warning("%d jobs expired before anybody could start them", len(found.expired))
                self._follow_up(found.expired)
            ended += len(found.expired)
            after = found.after
        return ended

    def _follow_up(self, expired: Sequence[str]) -> None:
        """Let those go on that come after jobs which expired; if that fails, the next look is a round, which does."""
        not_before, self._not_before = self._not_before, 0.0
        follow(self._database, lambda: self._board, expired)
        self._board.withdraw(expired)
        self._not_before = not_before

    def follow_ended(self) -> int:
        """Let jobs go on, or skip them, that come after others which have ended; how many."""
        followed = follow_all(self._database, lambda: self._board)
        if followed:
            log.info("%d jobs were still blocked by jobs that had ended", followed)
        return followed

    def repost_missing(self) -> int:
        """Post open jobs that the board does not know; how many."""
        posted = 0
        after: int | None = 0
        forgotten: set[str] = set()
        while after is not None:
            open_, after = self._store.open_ids(after=after, limit=PAGE)
            known = self._board.known(open_)
            missing = [job_id for job_id in open_ if job_id not in known]
            running = self._kept_elsewhere(missing)
            forgotten |= running
            due = [job_id for job_id in missing if job_id not in running or job_id in self._forgotten]
            posted += self._post(due)
        self._forgotten = forgotten
        _tell_posted(posted)
        return posted

    def _repost_forgotten(self) -> None:
        """Between rounds, which may be far apart: post what the last one left to conductors that have not done it."""
        if not self._forgotten:
            return
        running = self._store.owners_of_running(sorted(self._forgotten))
        self._forgotten = set()
        _tell_posted(self._post(list(running)))

    def _post(self, job_ids: Sequence[str]) -> int:
        """Post jobs as they are by now, if they still are for the board; how many."""
        entries = self._store.entries(job_ids)
        return self._board.post(entries) if entries else 0

    def _kept_elsewhere(self, job_ids: Sequence[str]) -> set[str]:
        """Those of the jobs that run at conductors of which it is not known that they are gone."""
        if not job_ids:
            return set()
        owners = self._store.owners_of_running(job_ids)
        conductors = {job_id: (owner or "").partition("/")[0] for job_id, owner in owners.items()}
        gone = conductors_gone(self._database, set(conductors.values()))
        return {job_id for job_id, conductor in conductors.items() if conductor not in gone}

    def withdraw_finished(self) -> int:
        """Take jobs off the board that have ended or are parked, or that the store does not know; how many.

        On the same way, hand back what is claimed for nobody.
        """
        withdrawn = 0
        mark: str | None = None
        while True:
            rows, mark = self._board.list(after=mark, limit=ROWS)
            ids = [row.entry.job_id for row in rows]
            wanted = self._store.on_board(ids)
            gone = [job_id for job_id in ids if job_id not in wanted]
            if gone:
                withdrawn += self._board.withdraw(gone)
            self._put_right([row for row in rows if row.entry.job_id not in gone])
            self._unkept.note(rows)
            if mark is None:
                break
        if withdrawn:
            log.info("%d jobs on the board had ended, or are parked, and were taken off", withdrawn)
        self._unkept.release()
        return withdrawn

    def _put_right(self, rows: Iterable[BoardRow]) -> None:
        """Move jobs that wait on the board for a node for which SQL does not let them wait."""
        waiting = {
            row.entry.job_id: row.entry.job_class.node
            for row in rows
            if row.owner is None and row.entry.job_class.node is not None
        }
        right = pins(self._database, list(waiting)) if waiting else {}
        strayed = [job_id for job_id, node in right.items() if waiting[job_id] != node]
        if strayed:
            log.warning("%d jobs waited on the board for a wrong node", len(strayed))
            entries = self._store.entries(strayed)
            move(self._board, entries, holder=f"{self._holder}/moving", lease=self._lease)

    def note_unclaimable(self) -> int:
        """Say of jobs that no living node can claim what they wait for; how many."""
        now_ms = times.now_ms()
        alive = [node for node in list_nodes(self._database) if node.is_alive(now_ms)]
        names = {node.name for node in alive}
        classes = self._board.classes()
        noted = 0
        for name in {node.name for node in alive if node.drained} & {cls.node for cls in classes}:
            note = f"Waiting for the node {name!r}, which is drained: `jobrunner node undrain {name}` lets it go on."
            noted += self._note(unexplained(self._database, node=name), note)
        for name in {cls.node for cls in classes if cls.node is not None and cls.node not in names}:
            note = f"Waiting for the node {name!r}, on which no conductor runs."
            noted += self._note(unexplained(self._database, node=name), note)
        known = [node.report.get("types") for node in alive]
        if known and all(known):  # else one of them, or this one, is just starting, and may know more
            types = {name for names_of_node in known for name in names_of_node or ()}
            for type_ in {cls.type for cls in classes if cls.type not in types}:
                note = (
                    f"Waiting for a node that knows the job type {type_!r}; no living node does. "
                    "A conductor loads plugins when it starts, and again when it gets SIGHUP."
                )
                noted += self._note(unexplained(self._database, type_=type_), note)
        return noted

    def call_waiting(self) -> int:
        """End permits that were left behind, and call those who wait for a semaphore that has room; how many.

        Their conductors do that at once; this is for what they did not come to.
        """
        sweep(self._database)
        called = call_late(self._database)
        return self._board.hasten(called) if called else 0

    def _note(self, job_ids: list[str], note: str) -> int:
        if job_ids:
            note_waiting(self._database, job_ids, note)
        return len(job_ids)


def _tell_posted(number: int) -> None:
    if number:
        log.warning("%d jobs were missing on the board and were posted again from the database", number)
