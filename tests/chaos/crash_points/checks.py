"""What must hold at a death, and after the end; each finding is a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.crash_points.evidence import EXECUTE, PROGRESS, REVERT, Line
from tests.chaos.crash_points.record import (
    EXECUTED,
    INJECTOR,
    REVERTED,
    REVERTING,
    RUNNING,
    Atom,
    Record,
    Row,
)
from tests.chaos.crash_points.shapes import Shape

OURS = "jobrunner"
STAMPS = frozenset({"owner", "node", "epoch", "starts", "started_ms", "finished_ms", "waits"})
"""What the journal notes of an atom that differs from run to run."""
TRACES = frozenset({"traceback", "traceback_str"})
"""Texts with the places in the code that an error went through; the first run and a resumed one differ in these."""
EFFECTS = (EXECUTE, REVERT)


@dataclass(frozen=True, kw_only=True)
class Death:
    """What there was when an owner had died."""

    pid: int
    lines: Sequence[Line]
    record: Record


# -- at a death


def at_death(death: Death) -> list[str]:
    """Whatever was done is recorded to have begun, and whatever it relied on is recorded."""
    return [
        what for line in death.lines if not _is_over(line, death.record) for what in _unrecorded(line, death)
    ]


def _is_over(line: Line, record: Record) -> bool:
    """Whether the record says that the line's turn has ended: all that was done in it is undone, and maybe reset."""
    return line.turn is not None and any(_has_left(retry, line.turn) for retry in record.retries)


def _has_left(retry: Atom, turn: Any) -> bool:
    if turn in retry.turns:
        return turn != retry.turns[-1] or retry.row["state"] in ("RETRYING", RUNNING)
    return retry.row["state"] == REVERTED


def _unrecorded(line: Line, death: Death) -> Iterable[str]:
    atom = death.record.atoms.get(line.atom)
    if line.what == PROGRESS:
        if line.pid == death.pid and (atom is None or atom.progress < (line.amount or 0.0)):
            yield f"{line.atom} had reported {line.amount}, and that is not recorded"
        return
    if atom is None or not _is_begun(line, atom):
        yield f"{line.atom} {line.what}s{_in(line.turn)}, and it is not recorded that it began"
    for name, token in line.saw.items():
        given = death.record.atoms.get(name)
        if given is None or given.result is None or given.result["token"] != token:
            yield f"{line.atom} {line.what}s with a result of {name} that is not recorded"
    others = [retry for retry in death.record.retries if retry is not atom]
    if others and line.turn is not None and not any(line.turn in retry.turns for retry in others):
        yield f"{line.atom} {line.what}s{_in(line.turn)}, which is not recorded"


def _is_begun(line: Line, atom: Atom) -> bool:
    state = atom.row["state"]
    if line.what == REVERT:
        return state in (REVERTING, REVERTED)
    if atom.is_retry:
        return line.turn in atom.turns or state == RUNNING
    return state == RUNNING or (state in EXECUTED and atom.turn == line.turn)


# -- after the end


def repeated(deaths: Sequence[Death], lines: Sequence[Line]) -> list[str]:
    """What was done once more though it was recorded as done when an owner died."""
    found = set()
    for death in deaths:
        done = {
            (name, *what)
            for name, atom in death.record.atoms.items()
            if not name.startswith(INJECTOR)
            for what in atom.finished()
        }
        later = lines[len(death.lines) :]
        found |= {(line.atom, line.what, line.turn) for line in later if line.what in EFFECTS} & done
    return [
        f"{atom} {what}s once more{_in(turn)}, though it is recorded as done"
        for atom, what, turn in sorted(found, key=str)
    ]


def too_often(deaths: Sequence[Death], lines: Sequence[Line]) -> list[str]:
    """What was done more often than once, and once more for each death while it was under way."""
    done = Counter((line.atom, line.what, line.turn) for line in lines if line.what in EFFECTS)
    return [
        f"{atom} {what}s {times} times{_in(turn)}, with {len(deaths)} deaths"
        for (atom, what, turn), times in done.items()
        if times > 1 + len(deaths)
    ]


def differences(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where two ends differ."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        keys = sorted({*expected, *found}, key=str)
        return [
            what
            for key in keys
            for what in differences(expected.get(key, "nothing"), found.get(key, "nothing"), f"{where}/{key}")
        ]
    return [] if expected == found else [f"{where} is {found!r}, and should be {expected!r}"]


def end_of(job_ids: Sequence[str], record: Record, lines: Sequence[Line]) -> dict[str, Any]:
    """All that is left of a job, less what no two runs have in common: ids, times, owners, epochs, places in the code.

    A token is replaced by the name of the execution that drew it; of two executions in one turn the last has the name,
    so a value that came of an earlier one and was used or kept nevertheless is a difference.
    """
    effects = [line for line in lines if line.what in EFFECTS]
    names = {
        line.token: f"{line.atom}{_in(line.turn)}, run again" for line in effects if line.what == EXECUTE
    }
    last = {(line.atom, line.what, line.turn): line for line in effects}
    names |= {line.token: f"{line.atom}{_in(line.turn)}" for line in last.values() if line.what == EXECUTE}
    left = {
        "job": _without_owners(record.job),
        "jobs before": [_without_owners(job) for job in record.before],
        "attempts": record.attempts,
        "books": record.books,
        "flows": record.flows,
        "two rows": record.doubles,
        "atoms": {name: atom.row for name, atom in record.atoms.items()},
        "events": [kind for kind in record.events if kind not in ("claimed", "suspended")],
        "signals taken": record.taken,
        "done": {f"{atom} {what}s{_in(turn)}": _seen(line) for (atom, what, turn), line in last.items()},
        "done last": {line.atom: line.what for line in effects},
    }
    return _plain(left, {**names, **{job_id: f"job {place}" for place, job_id in enumerate(job_ids)}})


def _without_owners(job: Row) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in ("owner", "node", "deaths")}


def _seen(line: Line) -> dict[str, Any]:
    return {"saw": line.saw, "failures": line.failures, "token": line.token}


def _plain(value: Any, names: Mapping[str | None, str]) -> Any:
    if isinstance(value, Mapping):
        kept = {
            key: part
            for key, part in value.items()
            if key not in TRACES and not (key == OURS and _is_stamp(part))
        }
        return {key: _plain(part, names) for key, part in kept.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part, names) for part in value]
    return names.get(value, value) if isinstance(value, str) else value


def _is_stamp(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) <= STAMPS


def _in(turn: Any) -> str:
    return "" if turn is None else f" in turn {turn}"


# -- the run without a fault


def as_meant(shape: Shape, record: Record, lines: Sequence[Line], writes: int) -> list[str]:
    """Where the run without a fault is not what the shape's author wrote down."""
    did = Counter((line.atom, line.what) for line in lines if line.what in EFFECTS)
    known = {*record.atoms, *(name for name, _ in did)}
    names = sorted(name for name in known if not name.startswith(INJECTOR))
    done = {name: (did[name, EXECUTE], did[name, REVERT], _state(record, name)) for name in names}
    found = differences({name: tuple(does) for name, does in shape.does.items()}, done, "done")
    found += differences(shape.ends, record.job["state"], "the job's state")
    reported = {line.atom: line.amount for line in lines if line.what == PROGRESS}
    found += differences(shape.reports, reported, "reported")
    progress = {name: record.atoms[name].progress for name in shape.reports}
    found += differences(dict.fromkeys(shape.reports, 1.0), progress, "progress")
    if writes < shape.least_writes:
        found.append(f"{writes} writes, and its barriers alone are {shape.least_writes}")
    return found


def _state(record: Record, name: str) -> Any:
    return record.atoms[name].row["state"] if name in record.atoms else None
