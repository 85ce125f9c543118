"""The model test can fail: it finds every one of these faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobrunner.boards.board import Board
from jobrunner.boards.sql import SqlBoard
from tests.conformance.model import mutants
from tests.conformance.model.clock import ClockedDatabase
from tests.conformance.model.conftest import Parts
from tests.conformance.model.machine import Differs
from tests.conformance.model.sequences import find_difference
from tests.conformance.model.world import World

ANY = "claimed|told to be lost|the keeper's|the claims|the line|released|the delayed|claimable in the end"
MakeBoard = Callable[[ClockedDatabase], Board]


def of(kind: type[SqlBoard]) -> MakeBoard:
    return lambda database: kind(database.url.render_as_string(False), database=database)


BOARDS: dict[str, tuple[MakeBoard, str]] = {
    "keep says that nothing is lost": (
        of(mutants.NothingIsLost),
        "told to be lost|the keeper's|the claims|the jobs on the board",
    ),
    "a claim belongs to whoever asks": (
        of(mutants.OneNameForAll),
        "told to be lost|the keeper's|the claims|the jobs on the board",
    ),
    "leases do not end": (
        mutants.board_without_expiry,
        ANY,
    ),
    "a delay is passed over": (of(mutants.NoDelay), ANY),
    "the newest job is claimed first": (of(mutants.NewestFirst), "claimed|claimable in the end"),
    "anybody's claim is consumed": (
        of(mutants.ConsumesWhateverIsNamed),
        "others' claims|the jobs on the board|claimed",
    ),
}
WORLDS: dict[str, tuple[type[World], str]] = {
    "begin does not raise the epoch": (mutants.EpochStays, "begun|found to have ended"),
    "writes are not fenced": (mutants.NoFence, ".* may write"),
    "a terminal job is begun": (mutants.TerminalJobsAreBegun, "begun|found to have ended|set aside"),
    "deaths are not counted": (mutants.DeathsAreNotCounted, "begun|deaths|found to have ended"),
    "cancelling ends a running job": (mutants.CancelEndsRunningJobs, "cancelling"),
    "a job starts anew with each owner": (mutants.StartsAnew, "read back"),
    "the keeper takes jobs back from others": (
        mutants.TakesBackFromOthers,
        "the keeper's|epoch|owner|deaths",
    ),
    "a job is deleted while it runs": (mutants.DeletesWhatRuns, "deleting|asking for something"),
    "a semaphore is granted whatever is held": (
        mutants.PermitsAreNotCounted,
        "begun|[0-9]+ hold the semaphore",
    ),
    "what a job held stays held": (mutants.PermitsStay, "who holds the semaphore"),
    "a wish to suspend dies with the owner": (mutants.HoldsDieWithOwners, "begun|held|found to be parked"),
    "a signal is taken without a fence": (mutants.SignalsAreTakenByAnybody, "the signals that nobody took"),
    "a signal that comes between is not followed up": (
        mutants.SignalsAreNotFollowedUp,
        "parked|available_ms|the jobs on the board|the delayed",
    ),
    "running jobs are posted again at once": (
        mutants.with_reconciler(mutants.Unguarded),
        "posted and withdrawn",
    ),
    "claimed jobs are withdrawn": (mutants.with_reconciler(mutants.WithdrawsClaims), "posted and withdrawn"),
    "what is missing stays so": (mutants.with_reconciler(mutants.NeverReposts), "posted and withdrawn"),
}

LINKED: dict[str, tuple[type[World], str]] = {
    "a resumed job does not wait for others again": (
        mutants.NobodyWaitsAgain,
        "state|parked|claimable|claimed|the line|the jobs on the board|epoch",
    ),
    "cancelling a set misses a job": (mutants.SetsAreHalfCancelled, "the set|state|cancel of"),
    "an end is followed up twice": (mutants.EndsAreFollowedTwice, "the attempts in which"),
    "the leader does not follow up on ends": (
        mutants.with_reconciler(mutants.NeverFollows),
        "claimable in the end|posted and withdrawn|state|left",
    ),
}


SOON = {"a wish to suspend dies with the owner": 5, "what a job held stays held": 5}
"""Seeds that show what others show only after hundreds of sequences."""


@pytest.mark.parametrize(("make_board", "words"), BOARDS.values(), ids=BOARDS)
def test_finds_a_broken_board(
    on_sqlite: Parts, make_world: Callable[..., World], make_board: MakeBoard, words: str
) -> None:
    database, _, clock, snapshots = on_sqlite
    board = make_board(database)
    with pytest.raises(Differs, match=f"^({words})"):
        find_difference(make_world((database, board, clock, snapshots)))
    board.close()


@pytest.mark.parametrize("name", WORLDS)
def test_finds_a_broken_store_or_conductor(
    on_sqlite: Parts, make_world: Callable[..., World], name: str
) -> None:
    kind, words = WORLDS[name]
    with pytest.raises(Differs, match=f"^({words})"):
        find_difference(make_world(on_sqlite, kind), SOON.get(name, 0))


@pytest.mark.parametrize("name", LINKED)
def test_finds_what_goes_wrong_between_jobs(
    on_sqlite: Parts, make_world: Callable[..., World], name: str
) -> None:
    kind, words = LINKED[name]
    with pytest.raises(Differs, match=f"^({words})"):
        find_difference(make_world(on_sqlite, kind), linked=True)
