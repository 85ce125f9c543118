"""The lease keeper, the reconciler and the scout, each by itself on a real board and store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jobrunner.boards.board import Board
from jobrunner.boards.sql import SqlBoard
from jobrunner.conductor.reconciling.handing_back import give_back
from jobrunner.conductor.reconciling.reconciler import Reconciler
from jobrunner.conductor.reconciling.unkept import UNKEPT_S
from jobrunner.conductor.supervisor import keeper as keeping
from jobrunner.conductor.supervisor.keeper import Claims, LeaseKeeper
from jobrunner.conductor.worker.candidates import Scout
from jobrunner.errors import StoreUnavailable
from jobrunner.model import CancelMode, JobClass, JobState, Posting
from jobrunner.persistence.nodes import ALIVE_MS, node_stopped, report_node
from jobrunner.persistence.ownership import beginning, ownership
from jobrunner.persistence.ownership.settling import Settlement
from jobrunner.persistence.ownership.unowned import hand_back_of, note_waiting
from jobrunner.persistence.store import Store, board_entry
from jobrunner.persistence.tables import jobs, nodes
from jobrunner.plugins.registry import Capability, Registry
from tests.support.boards import until
from tests.support.runs import Runs

OWNER, OTHER = "alice:1:aa/0.bb", "bob:2:cc/0.dd"
LEASE = 30.0
PLAIN = JobClass(type="plain")


@pytest.fixture
def board(runs: Runs) -> Iterator[Board]:
    found = SqlBoard(str(runs.database.url), database=runs.database)
    yield found
    found.close()


def post(runs: Runs, board: Board | None, count: int = 1, **posting: Any) -> list[str]:
    made = [Posting(**{"type": "plain", **posting}) for _ in range(count)]
    ids = [job_id for job_id, _ in runs.store.insert(made, now_ms=time.time_ns() // 1_000_000)]
    if board is not None:
        board.post([board_entry(runs.store.get(job_id)) for job_id in ids])
    return ids


class Keeper:
    """A keeper, and what it told the workers."""

    def __init__(self, runs: Runs, board: Board) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.claims = Claims()
        self._keeper = LeaseKeeper(lambda: board, runs.database, self.claims, lease=LEASE, tell=self._tell)

    def _tell(self, owner: str, kind: str, **content: Any) -> None:
        self.told.append((owner, kind, content))

    def keep(self) -> dict[tuple[str, str], list[str]]:
        """Keep once; by owner and kind the ids that were told."""
        self.told.clear()
        self._keeper.keep()
        return {(owner, kind): sorted(content["ids"]) for owner, kind, content in self.told}

    def look(self) -> list[tuple[str, str, dict[str, Any]]]:
        self.told.clear()
        self._keeper.look()
        return self.told


@pytest.fixture
def keeper(runs: Runs, board: Board) -> Keeper:
    return Keeper(runs, board)


def claim(runs: Runs, board: Board, keeper: Keeper, owner: str, ids: list[str]) -> None:
    assert board.claim_these(owner, ids, lease=LEASE) == ids
    beginning.begin(runs.database, ids, owner=owner, node=owner[:5])
    keeper.claims.add(owner, ids)


# The keeper


def test_leases_of_several_workers_are_kept_and_told(runs: Runs, board: Board, keeper: Keeper) -> None:
    ids = post(runs, board, 4)
    claim(runs, board, keeper, OWNER, ids[:2])
    claim(runs, board, keeper, OTHER, ids[2:])
    assert keeper.keep() == {(OWNER, "kept"): sorted(ids[:2]), (OTHER, "kept"): sorted(ids[2:])}
    keeper.claims.remove(OWNER, ids[:1])
    keeper.claims.drop(OTHER)
    assert keeper.keep() == {(OWNER, "kept"): ids[1:2]}


def test_what_somebody_else_has_claimed_is_lost(
    runs: Runs, board: Board, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    [job_id] = post(runs, board)
    claim(runs, board, keeper, OWNER, [job_id])
    board.release(OWNER, [job_id])
    board.claim_these(OTHER, [job_id], lease=LEASE)
    beginning.begin(runs.database, [job_id], owner=OTHER, node="bob")
    assert keeper.keep() == {(OWNER, "lost"): [job_id]}
    assert f"leases of these jobs were lost: {job_id}" in caplog.text
    assert keeper.keep() == {}  # told once
    assert board.owners([job_id]) == {job_id: OTHER}


def test_what_the_board_forgot_is_claimed_again(runs: Runs, board: Board, keeper: Keeper) -> None:
    ids = sorted(post(runs, board, 3))
    claim(runs, board, keeper, OWNER, ids)
    board.clear()
    assert keeper.keep() == {(OWNER, "kept"): ids}
    assert board.owners(ids) == dict.fromkeys(ids, OWNER)


def test_what_the_keeper_claims_anew_keeps_its_place_in_line(
    runs: Runs, board: Board, keeper: Keeper
) -> None:
    [first] = post(runs, board)
    claim(runs, board, keeper, OWNER, [first])
    time.sleep(0.002)  # in another millisecond
    [second] = post(runs, board)
    board.clear()
    board.post([board_entry(runs.store.get(second))])
    assert keeper.keep() == {(OWNER, "kept"): [first]}
    board.release(OWNER, [first])
    assert board.claim(OTHER, [PLAIN], limit=2, lease=LEASE) == [first, second]


def test_nobody_is_quicker_than_the_keeper_when_the_board_has_forgotten_a_job(
    runs: Runs, board: Board, keeper: Keeper
) -> None:
    [job_id] = post(runs, board)
    claim(runs, board, keeper, OWNER, [job_id])
    board.clear()
    plain_post = board.post

    def post_then_ask(entries: Any) -> int:
        posted = plain_post(entries)
        assert (
            board.claim(OTHER, [PLAIN], limit=1, lease=LEASE) == []
        )  # an idle conductor, woken by the posting
        return posted

    board.post = post_then_ask  # type: ignore[method-assign]
    assert keeper.keep() == {(OWNER, "kept"): [job_id]}
    assert board.owners([job_id]) == {job_id: OWNER}


def test_what_the_board_forgot_and_another_began_meanwhile_is_lost(
    runs: Runs, board: Board, keeper: Keeper
) -> None:
    [job_id] = post(runs, board)
    claim(runs, board, keeper, OWNER, [job_id])
    board.clear()
    beginning.begin(runs.database, [job_id], owner=OTHER, node="bob")
    assert keeper.keep() == {(OWNER, "lost"): [job_id]}


def test_a_worker_that_claimed_its_own_forgotten_job_keeps_it(
    runs: Runs, board: Board, keeper: Keeper
) -> None:
    [job_id] = post(runs, board)
    claim(runs, board, keeper, OWNER, [job_id])
    board.clear()
    plain_post = board.post

    def post_then_claim(entries: Any) -> int:
        plain_post([board_entry(runs.store.get(job_id))])  # the reconciler is quicker
        assert board.claim(OWNER, [PLAIN], limit=1, lease=LEASE) == [job_id]  # the worker has room
        return plain_post(entries)

    board.post = post_then_claim  # type: ignore[method-assign]
    assert keeper.keep() == {(OWNER, "kept"): [job_id]}


def test_a_job_that_ends_while_the_board_is_asked_is_no_loss(
    runs: Runs, board: Board, keeper: Keeper
) -> None:
    [job_id] = post(runs, board)
    claim(runs, board, keeper, OWNER, [job_id])
    plain_keep = board.keep

    def ends_then_keep(claims: Any, *, lease: float) -> set[str]:
        board.consume(OWNER, [job_id])
        keeper.claims.remove(OWNER, [job_id])
        return plain_keep(claims, lease=lease)

    board.keep = ends_then_keep  # type: ignore[method-assign]
    assert keeper.keep() == {}


def test_a_job_that_has_ended_is_no_alarm(
    runs: Runs, board: Board, keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker has told the board, and its word to the supervisor comes a moment later."""
    [job_id] = post(runs, board)
    claim(runs, board, keeper, OWNER, [job_id])
    ownership.hand_back(runs.database, runs.store.get(job_id), Settlement(state=JobState.SUCCEEDED))
    board.consume(OWNER, [job_id])
    assert keeper.keep() == {(OWNER, "lost"): [job_id]}
    assert caplog.text == ""


def test_a_job_that_its_worker_claimed_again_is_kept_before_it_has_begun(
    runs: Runs, board: Board, keeper: Keeper
) -> None:
    [job_id] = post(runs, board)
    keeper.claims.add(OWNER, [job_id])
    plain_keep = board.keep

    def keep_then_claim(claims: Any, *, lease: float) -> set[str]:
        gone = plain_keep(claims, lease=lease)
        board.claim_these(OWNER, [job_id], lease=LEASE)
        return gone

    board.keep = keep_then_claim  # type: ignore[method-assign]
    assert keeper.keep() == {(OWNER, "kept"): [job_id]}


def test_a_claim_whose_lease_is_over_before_it_has_begun_is_lost(
    runs: Runs, board: Board, keeper: Keeper
) -> None:
    [job_id] = post(runs, board)
    board.claim_these(OWNER, [job_id], lease=0.001)
    keeper.claims.add(OWNER, [job_id])
    time.sleep(0.02)  # by when it has ended
    assert keeper.keep() == {(OWNER, "lost"): [job_id]}


def test_wishes_to_cancel_reach_the_owner_with_their_mode(runs: Runs, board: Board, keeper: Keeper) -> None:
    ids = post(runs, board, 3)
    claim(runs, board, keeper, OWNER, ids)
    for job_id, mode in zip(ids, CancelMode, strict=False):
        ownership.request_cancel(runs.database, job_id, mode)
    told = {content["id"]: content["mode"] for _, kind, content in keeper.look() if kind == "cancel"}
    assert told == {ids[0]: "revert", ids[1]: "keep"}


def test_an_outage_is_not_over_because_an_idle_keeper_asks_less_often(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = threading.Semaphore(0)

    def refuse(*args: Any, **options: Any) -> Any:
        tries.release()
        raise StoreUnavailable("It refuses.")

    monkeypatch.setattr(keeping, "wishes", refuse)
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    monkeypatch.setattr(keeping, "IDLE_LOOK_S", 0.04)
    idle = LeaseKeeper(lambda: None, runs.database, Claims(), lease=LEASE, tell=lambda *args: None)
    idle.start()
    try:
        assert all(tries.acquire(timeout=10) for _ in range(4))
    finally:
        idle.stop()
    told = [record.getMessage() for record in caplog.records if "people want" in record.getMessage()]
    assert told == ["looking for what people want: It refuses. It is tried again until it works."]


# The reconciler


def reconciler(runs: Runs, board: Board, holder: str = "alice") -> Reconciler:
    return Reconciler(runs.database, board, holder=holder, lease=60.0)


def test_what_is_missing_is_posted_and_what_ended_is_withdrawn(runs: Runs, board: Board) -> None:
    there, missing, ended = post(runs, board)[0], post(runs, None)[0], post(runs, board)[0]
    with runs.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == ended).values(state="SUCCEEDED"))
    done = reconciler(runs, board).run_if_leader()
    assert done is not None
    assert (done.posted, done.withdrawn) == (1, 1)
    assert board.known([there, missing, ended]) == {there, missing}


def test_a_round_holds_no_more_than_a_page_and_whole_rows_only_of_what_is_missing(
    runs: Runs, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, missing, ended = post(runs, board, 3), post(runs, None, 3), post(runs, board, 3)
    with runs.database.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id.in_(ended)).values(state="SUCCEEDED"))
    held: list[int] = []
    rows: list[str] = []
    known, page, get_many = board.known, board.list, Store.get_many
    monkeypatch.setattr("jobrunner.conductor.reconciling.reconciler.PAGE", 2)
    monkeypatch.setattr("jobrunner.conductor.reconciling.reconciler.ROWS", 2)
    monkeypatch.setattr(board, "known", lambda ids: held.append(len(ids)) or known(ids))
    monkeypatch.setattr(board, "list", lambda **given: held.append(given["limit"]) or page(**given))
    monkeypatch.setattr(Store, "get_many", lambda self, ids: rows.extend(ids) or get_many(self, ids))
    done = reconciler(runs, board).run_if_leader()
    assert done is not None
    assert (done.posted, done.withdrawn) == (3, 3)
    assert max(held) == 2
    assert sorted(rows) == sorted(missing)
    assert known([*there, *missing, *ended]) == {*there, *missing}


def test_a_job_that_ended_while_the_board_was_asked_is_not_posted(
    runs: Runs, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job_id] = post(runs, None)

    def nothing_known(ids: list[str]) -> set[str]:
        with runs.database.write() as connection:
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(state="SUCCEEDED"))
        return set()

    known = board.known
    monkeypatch.setattr(board, "known", nothing_known)
    assert reconciler(runs, board).repost_missing() == 0
    assert known([job_id]) == set()


def test_a_running_job_is_left_to_its_conductor_for_one_round(runs: Runs, board: Board) -> None:
    [job_id] = post(runs, None)
    beginning.begin(runs.database, [job_id], owner=OWNER, node="alice")
    leader = reconciler(runs, board)
    assert leader.repost_missing() == 0
    assert leader.repost_missing() == 1


def forgotten(runs: Runs, board: Board) -> str:
    """A job that runs, and that the board has lost."""
    [job_id] = post(runs, board)
    board.claim_these(OWNER, [job_id], lease=LEASE)
    beginning.begin(runs.database, [job_id], owner=OWNER, node="alice")
    board.clear()
    return job_id


@pytest.mark.parametrize("how", ["it ended", "it was started anew", "it is silent"])
def test_what_the_board_forgot_of_a_conductor_that_is_gone_is_posted_at_once(
    runs: Runs, board: Board, how: str
) -> None:
    job_id = forgotten(runs, board)
    identity = OWNER.partition("/")[0]
    name = identity.partition(":")[0]
    report_node(runs.database, name, identity, started_ms=1, report={})
    assert reconciler(runs, board).repost_missing() == 0, "its conductor lives, and will do it itself"
    if how == "it ended":
        node_stopped(runs.database, name, identity)
    elif how == "it was started anew":
        report_node(runs.database, name, f"{name}:9:9", started_ms=1, report={})
    else:
        long_ago = nodes.update().values(seen_ms=nodes.c.seen_ms - ALIVE_MS - 1)
        runs.database.retrying(lambda connection: connection.execute(long_ago))
    assert reconciler(runs, board).repost_missing() == 1
    assert board.known([job_id]) == {job_id}


def test_what_the_board_forgot_is_looked_at_again_before_the_next_round(runs: Runs, board: Board) -> None:
    job_id = forgotten(runs, board)
    leader = reconciler(runs, board)
    assert leader.run_if_leader() is not None
    leader._not_before += 3600
    assert board.known([job_id]) == set()
    assert leader.run_if_leader() is None
    assert board.known([job_id]) == {job_id}


@pytest.mark.parametrize("on_purpose", [False, True])
def test_what_the_board_forgot_of_a_dead_worker_is_posted_at_once(
    runs: Runs, board: Board, on_purpose: bool
) -> None:
    job_id = forgotten(runs, board)
    [held] = post(runs, board)
    board.claim_these(OWNER, [held], lease=LEASE)
    beginning.begin(runs.database, [held], owner=OWNER, node="alice")
    handed_back = hand_back_of(runs.database, [OWNER]) if on_purpose else []
    assert give_back(runs.database, board, OWNER, handed_back=handed_back) == 2
    assert sorted(board.claim_these(OTHER, [job_id, held], lease=LEASE)) == sorted([job_id, held])
    assert give_back(runs.database, board, OWNER, handed_back=handed_back) == 0
    assert set(board.owners([job_id, held]).values()) == {OTHER}


@pytest.mark.parametrize("who", ["nobody", "one that keeps its leases", "one that reports"])
def test_a_claim_whose_lease_does_not_end_is_handed_back_once_its_conductor_is_gone(
    runs: Runs, board: Board, who: str
) -> None:
    """As after the board's clock was set back by an hour, and the machine died."""
    [job_id] = post(runs, board)
    board.claim_these(OWNER, [job_id], lease=3600)
    beginning.begin(runs.database, [job_id], owner=OWNER, node="alice")
    identity = OWNER.partition("/")[0]
    report_node(runs.database, "alice", identity, started_ms=1, report={})
    if who != "one that reports":
        node_stopped(runs.database, "alice", identity)
    leader = reconciler(runs, board)
    leader.withdraw_finished()
    assert board.owners([job_id]) == {job_id: OWNER}
    leader._unkept._seen[OWNER].since -= UNKEPT_S
    if who == "one that keeps its leases":
        board.keep([(job_id, OWNER)], lease=3601)
    leader.withdraw_finished()
    assert board.owners([job_id]) == ({} if who == "nobody" else {job_id: OWNER})


def test_one_conductor_leads(runs: Runs, board: Board) -> None:
    assert reconciler(runs, board, "alice").run_if_leader() is not None
    assert reconciler(runs, board, "bob").run_if_leader() is None


def test_long_rounds_are_followed_by_long_pauses(
    runs: Runs, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    leader = reconciler(runs, board)

    def takes_a_second() -> int:
        clock[0] += 1.0
        return 0

    monkeypatch.setattr(leader, "withdraw_finished", takes_a_second)
    assert leader.run_if_leader() is not None
    clock[0] += 19.0
    assert leader.run_if_leader() is None
    clock[0] += 1.1
    assert leader.run_if_leader() is not None


def report(runs: Runs, name: str, types: list[str]) -> None:
    report_node(runs.database, name, f"{name}:1", started_ms=0, report={"types": types})


def test_jobs_that_no_living_node_can_claim_say_so(runs: Runs, board: Board) -> None:
    known, unknown, pinned = (
        post(runs, board)[0], post(runs, board, type="other")[0], post(runs, board, node="bob")[0]
    )  # fmt: skip
    report(runs, "alice", ["plain"])
    report(runs, "bob", ["plain"])
    node_stopped(runs.database, "bob", "bob:1")
    assert reconciler(runs, board).note_unclaimable() == 2
    notes = {job_id: runs.store.get(job_id).note for job_id in (known, unknown, pinned)}
    assert notes[known] is None
    assert "other" in (notes[unknown] or "")
    assert "bob" in (notes[pinned] or "")
    assert reconciler(runs, board).note_unclaimable() == 0


def test_while_a_node_starts_nothing_is_said_about_types(runs: Runs, board: Board) -> None:
    post(runs, board, type="other")
    assert reconciler(runs, board).note_unclaimable() == 0
    report(runs, "alice", ["plain"])
    report(runs, "bob", [])
    assert reconciler(runs, board).note_unclaimable() == 0


def test_a_note_never_touches_a_job_that_runs(runs: Runs) -> None:
    running, waiting = post(runs, None, 2)
    beginning.begin(runs.database, [running], owner=OWNER, node="alice")
    note_waiting(runs.database, [running, waiting], "first")
    note_waiting(runs.database, [running, waiting], "second")
    assert [runs.store.get(job_id).note for job_id in (running, waiting)] == [None, "first"]


def test_what_an_ended_owner_held_is_fenced_and_no_death_is_counted(runs: Runs) -> None:
    ours, others = post(runs, None, 2)
    beginning.begin(runs.database, [ours], owner=OWNER, node="alice")
    beginning.begin(runs.database, [others], owner=OTHER, node="bob")
    assert hand_back_of(runs.database, [OWNER]) == [ours]
    job = runs.store.get(ours)
    assert (job.state, job.owner, job.epoch) == (JobState.SUSPENDED, None, 2)
    assert runs.store.get(others).state is JobState.RUNNING
    begun = beginning.begin(runs.database, [ours], owner=OTHER, node="bob")
    assert begun.started[0].deaths == 0


# The scout


class Scouting:
    """A scout and what it approved."""

    def __init__(
        self, runs: Runs, board: Board, registry: Registry, *, room: int = 8, timeout: float = 5.0
    ) -> None:
        self.room = room
        self.board = board
        self.approved: list[str] = []
        self.woken = threading.Event()
        self.scout = Scout(
            board,
            runs.store,
            lambda: registry,
            fits=lambda cls: cls.type == "plain",
            room=lambda: self.room - len(self.approved),
            wake=self.woken.set,
            timeout=timeout,
        )

    def until_approved(self, count: int, within: float = 10.0) -> None:
        def enough() -> bool:
            taken = self.scout.take_approved(self.room)
            self.approved += self.board.claim_these(OWNER, taken, lease=LEASE)
            return len(self.approved) >= count

        until(enough, within=within)


def registry_of(**predicates: Any) -> Registry:
    registry = Registry()
    for name, predicate in predicates.items():
        registry.add_capability(
            Capability(
                name=name, predicate=predicate, description="", module="test", package="test", source="test"
            )
        )
    return registry


def test_only_jobs_whose_predicates_say_yes_are_approved(runs: Runs, board: Board) -> None:
    yes = post(runs, board, 3, capabilities=("yes",))
    no = post(runs, board, 3, capabilities=("no",))
    other = post(runs, board, type="other", capabilities=("yes",))
    found = Scouting(runs, board, registry_of(yes=lambda job: True, no=lambda job: False))
    found.scout.start()
    found.until_approved(3)
    until(lambda: all(runs.store.get(job_id).note for job_id in no))
    found.scout.stop()
    assert sorted(found.approved) == sorted(yes)
    assert found.woken.is_set()
    assert not set(other) & set(found.approved)


def test_nothing_is_judged_while_there_is_no_room(runs: Runs, board: Board) -> None:
    post(runs, board, 3, capabilities=("yes",))
    asked: list[str] = []
    found = Scouting(runs, board, registry_of(yes=lambda job: bool(asked.append(job.id)) or True), room=0)
    found.scout.start()
    until(lambda: found.scout.classes)
    assert not found.scout.nothing_left()
    assert not asked
    found.room = 8
    found.scout.look()
    found.until_approved(3)
    found.scout.stop()


def test_a_slow_predicate_holds_up_its_own_class_only(runs: Runs, board: Board) -> None:
    go_on = threading.Event()
    post(runs, board, 40, capabilities=("slow",))
    quick = post(runs, board, 5, capabilities=("quick",))
    asked: list[str] = []

    def slow(job: Any) -> bool:
        asked.append(job.id)
        return go_on.wait(10)

    found = Scouting(runs, board, registry_of(slow=slow, quick=lambda job: True), timeout=10.0)
    found.scout.start()
    until(lambda: asked)
    found.until_approved(5, within=5)
    assert sorted(found.approved) == sorted(quick)
    assert len(asked) <= 2
    go_on.set()
    found.scout.stop()


def test_a_predicate_that_hangs_costs_one_thread_not_more_and_more(runs: Runs, board: Board) -> None:
    hang = threading.Event()
    jobs_waiting = post(runs, board, 30, capabilities=("hangs",))
    asked: list[str] = []

    def hangs(job: Any) -> bool:
        asked.append(job.id)
        return hang.wait(30)

    found = Scouting(runs, board, registry_of(hangs=hangs), timeout=0.1)
    found.scout.start()
    until(lambda: all(runs.store.get(job_id).note for job_id in jobs_waiting))
    assert len(asked) <= 2
    found.scout.stop()
    hang.set()


def test_nothing_is_left_once_all_is_judged_and_claimed(runs: Runs, board: Board) -> None:
    post(runs, board, 4, capabilities=("yes",))
    post(runs, board, 2, capabilities=("no",))
    found = Scouting(runs, board, registry_of(yes=lambda job: True, no=lambda job: False))
    assert not found.scout.nothing_left()
    found.scout.start()
    until(lambda: len(found.scout._approved) >= 2)
    assert not found.scout.nothing_left()
    found.until_approved(4)
    found.scout.look()
    until(found.scout.nothing_left)
    found.scout.stop()
