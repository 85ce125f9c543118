"""``jobrunner status ID``: one job in full."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobrunner import times
from jobrunner.cli import output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.isolation import limits_text, usage_text
from jobrunner.cli.options import add_json, positive
from jobrunner.cli.output import Cell, Column
from jobrunner.cli.records import atom_record, attempt_record, job_record, link_record
from jobrunner.cli.states import atom_look, job_look
from jobrunner.cli.waits import waits_for
from jobrunner.errors import EXIT_OK
from jobrunner.model import AtomRecord, AttemptRecord, Job, JobState, When
from jobrunner.policies import BAD_ENDS

if TYPE_CHECKING:
    from jobrunner.persistence.chains.links import Link

LABEL_WIDTH = 12
VALUE_LIMIT = 2000
SIGNALS_SHOWN = 10
SHOWN_LINKS = 20

ATOM_COLUMNS = (
    Column(title=""),
    Column(title="ATOM"),
    Column(title="STATE"),
    Column(title="PROGRESS", right=True),
    Column(title="TOOK", right=True),
    Column(title="STARTS", right=True),
    Column(title="NODE"),
    Column(title="ABOUT", grow=True),
)
ATTEMPT_COLUMNS = (
    Column(title="ATTEMPT", right=True),
    Column(title="STATE"),
    Column(title="STARTED"),
    Column(title="TOOK", right=True),
    Column(title="NODE"),
    Column(title="ABOUT", grow=True),
)
HISTORY_COLUMNS = (
    Column(title="WHEN"),
    Column(title="WHAT"),
    Column(title="ATTEMPT", right=True),
    Column(title="EPOCH", right=True),
    Column(title="OWNER"),
    Column(title="ABOUT", grow=True),
)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("status")
    parser.add_argument("id", metavar="ID", help="the job's id, or the start of it")
    parser.add_argument(
        "--attempt", type=positive, metavar="N", help="as it was when its attempt N ended (default: the last)"
    )
    parser.add_argument("--history", action="store_true", help="also what happened to it, and when")
    add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    from jobrunner.jobs import look, signals

    with open_context(args) as context:
        job = look.find(context, args.id)
        attempts = look.attempts(context, job) if args.attempt is None else []
        job = job if args.attempt is None else look.at_attempt(context, job, args.attempt)
        atoms = look.atoms(context, [job])[job.id]
        first = look.comes_after(context, job)
        then = look.comes_before(context, job)
        history = look.history(context, job) if args.history else []
        untaken = [] if job.state.is_terminal else signals.pending(context, job)
    if args.json:
        record = job_record(job) | {
            "atoms": [atom_record(atom) for atom in atoms],
            "attempts": [attempt_record(attempt) for attempt in attempts],
            "signals": untaken,
            "after": [link_record(link) for link in first],
        }
        output.print_json(record | ({"history": history} if args.history else {}))
        return EXIT_OK
    now = times.now_ms()
    for line in job_lines(job, now, with_traceback=bool(args.verbose)):
        print(line)
    for line in signal_lines(untaken, now):
        print(line)
    for line in link_lines(first, then):
        print(line)
    print_attempts(attempts, now)
    print_atoms(atoms, now)
    print_result(job)
    print_history(history)
    return EXIT_OK


def job_lines(job: Job, now_ms: int, *, with_traceback: bool = False) -> list[str]:
    """The job's own facts, a label before each; what there is nothing to say about is left out."""
    look = job_look(job.state)
    lines = [
        _line("Job", output.styled(job.id, "bold")),
        _line("Type", text.clean(job.type)),
        _line("State", output.styled(f"{look.mark} {job.state}", look.style) + _standing(job)),
        _line("Error", output.styled(_error_text(job), "bold red")),
        *_traceback_lines(job, wanted=with_traceback),
        _line("Note", text.clean(job.note or "")),
        _line("Owner", _owner(job)),
        _line("Posted", _posted(job, now_ms)),
        _line("Waits for", waits_for(job, now_ms)),
        _line("Due", _due(job, now_ms)),
        _line("Expires", _expires(job, now_ms)),
        _line("Started", _time(job.started_ms, now_ms)),
        _line("Finished", _finished(job, now_ms)),
        _line("Time limit", text.duration(job.timeout)),
        _line("Priority", _priority(job)),
        _line("Retries", _retries(job)),
        _line("Process", limits_text(job.policies.run)),
        _line("Used", usage_text(job)),
        _line("Needs", _needs(job)),
        _line("Prefers", _prefers(job, now_ms)),
        _line("Key", text.clean(job.idempotency_key or "")),
        _line("Jobset", job.jobset_id or ""),
        *_mapping("Parameters", job.parameters),
        *_mapping("Factory", _factory(job)),
        *_mapping("Properties", job.properties),
    ]
    return [line for line in lines if line]


def signal_lines(untaken: Sequence[Mapping[str, Any]], now_ms: int) -> list[str]:
    """The signals that no task has taken yet, oldest first."""
    lines = [
        f"{text.clean(signal['name'])} ({text.ago(signal['at_ms'], now_ms)}): {text.brief_json(signal['data'])}"
        for signal in untaken[:SIGNALS_SHOWN]
    ]
    if len(untaken) > SIGNALS_SHOWN:
        lines.append(f"and {len(untaken) - SIGNALS_SHOWN:,} more")
    return [_line("" if number else "Signals", line) for number, line in enumerate(lines)]


def link_lines(first: Sequence[Link], then: Sequence[tuple[str, When, str, str]]) -> list[str]:
    """The jobs that come before this one, and those that come after it."""
    before = [
        f"{link.after_id[:8]} {text.clean(link.type or '')} {link.state or 'deleted'}, on {link.when}"
        for link in first[:SHOWN_LINKS]
    ]
    before += [f"and {len(first) - SHOWN_LINKS:,} more"] if len(first) > SHOWN_LINKS else []
    after = [f"{job_id[:8]} {text.clean(type_)} {state}, on {when}" for job_id, when, type_, state in then]
    return [
        _line(label if number == 0 else "", line)
        for label, lines in (("After", before), ("Then", after[:SHOWN_LINKS]))
        for number, line in enumerate(lines)
    ]


def print_atoms(atoms: Sequence[AtomRecord], now_ms: int) -> None:
    """The atoms as a table, in the order of the flow; columns that would be empty are left out."""
    if not atoms:
        return
    rows = [_atom_row(atom, now_ms) for atom in atoms]
    used = [number for number in range(len(ATOM_COLUMNS)) if any(_text_of(row[number]) for row in rows)]
    print()
    output.print_table(
        [ATOM_COLUMNS[number] for number in used], [[row[number] for number in used] for row in rows]
    )


def print_attempts(attempts: Sequence[AttemptRecord], now_ms: int) -> None:
    """How the attempts before the present one ended."""
    if attempts:
        print()
        output.print_table(ATTEMPT_COLUMNS, [_attempt_row(attempt, now_ms) for attempt in attempts])


def print_result(job: Job) -> None:
    """What the job's flow provided."""
    if job.result in (None, {}, []):
        return
    print()
    if isinstance(job.result, dict):
        for line in _mapping("Result", job.result):
            print(line)
    else:
        print(_line("Result", text.brief_json(job.result, VALUE_LIMIT)))


def print_history(history: Sequence[Mapping[str, Any]]) -> None:
    """The job's events, oldest first."""
    if history:
        print()
        output.print_table(HISTORY_COLUMNS, [_event_row(event) for event in history])


def _atom_row(atom: AtomRecord, now_ms: int) -> list[Cell | str]:
    look = atom_look(atom.state)
    running = atom.state in ("RUNNING", "REVERTING", "RETRYING")
    took = text.between(atom.started_ms, None if running else atom.finished_ms or atom.started_ms, now_ms)
    progress = "" if atom.progress is None or atom.state == "SUCCESS" else f"{atom.progress:.0%}"
    about = Cell(atom.failure, "red") if atom.failure else Cell(atom.detail or "", "bright_black")
    return [
        Cell(look.mark, look.style),
        f"{atom.name} (retry)" if atom.kind == "retry" else atom.name,
        Cell(atom.state, look.style),
        progress,
        text.duration(took) if atom.started_ms else "",
        str(atom.starts) if atom.starts > 1 else "",
        atom.node or "",
        about,
    ]


def _attempt_row(attempt: AttemptRecord, now_ms: int) -> list[Cell | str]:
    look = job_look(attempt.state)
    error = attempt.error
    took = text.between(attempt.started_ms, attempt.finished_ms, now_ms)
    return [
        str(attempt.attempt),
        Cell(f"{look.mark} {attempt.state}", look.style),
        text.moment(attempt.started_ms),
        text.duration(took),
        attempt.node or "",
        Cell("" if error is None else text.clean(f"{error.kind}: {error.message}"), "red"),
    ]


def _event_row(event: Mapping[str, Any]) -> list[Cell | str]:
    return [
        text.moment(event["at_ms"]),
        str(event["kind"]).replace("_", " "),
        str(event["attempt"]),
        str(event["epoch"]),
        event["owner"] or "",
        "" if event["data"] is None else text.brief_json(event["data"]),
    ]


def _standing(job: Job) -> str:
    parts = []
    if job.attempt > 1:
        parts.append(f"attempt {job.attempt}")
    if job.deaths:
        parts.append(f"its owner died {'once' if job.deaths == 1 else f'{job.deaths} times'}")
    if job.cancel is not None and not job.state.is_terminal:
        parts.append("cancel requested")
    if job.held and job.state is JobState.RUNNING:
        parts.append("to be suspended")
    return f" ({', '.join(parts)})" if parts else ""


def _error_text(job: Job) -> str:
    if job.error is None:
        return ""
    where = f" (in {job.error.atom})" if job.error.atom else ""
    return text.clean(f"{job.error.kind}: {job.error.message}{where}")


def _traceback_lines(job: Job, *, wanted: bool) -> list[str]:
    if job.error is None or not job.error.traceback:
        return []
    if not wanted:
        return [_line("", output.styled("(-v shows the traceback)", "dim"))]
    return [_line("", line) for line in text.clean_lines(job.error.traceback).rstrip().split("\n")]


def _owner(job: Job) -> str:
    if job.owner:
        return text.clean(
            f"{job.owner} on {job.node}" if job.node and job.node not in job.owner else job.owner
        )
    return text.clean(f"none; last on {job.node}") if job.node else ""


def _posted(job: Job, now_ms: int) -> str:
    return _time(job.created_ms, now_ms) + (f" by {text.clean(job.author)}" if job.author else "")


def _due(job: Job, now_ms: int) -> str:
    """When a job that waits may start; for one that says it waits for its time, also if that has come."""
    waits = not job.state.is_terminal and job.available_ms > max(job.created_ms, now_ms)
    if waits_for(job, now_ms):
        return ""
    if not waits and job.state is JobState.SCHEDULED:
        return f"{_time(job.available_ms, now_ms)}, it waits for a conductor"
    return _time(job.available_ms, now_ms) if waits else ""


def _expires(job: Job, now_ms: int) -> str:
    """Until when a job can be started that nobody has started yet."""
    waits = job.started_ms is None and job.attempt == 1 and not job.state.is_terminal
    return _time(job.expires_ms, now_ms) if waits else ""


def _priority(job: Job) -> str:
    name = job.priority.name.lower().replace("_", " ")
    if job.policies.critical:
        return f"critical ({name})"
    return "" if name == "normal" else name


def _retries(job: Job) -> str:
    retry = job.policies.retrying
    if retry.attempts == 1:
        return ""
    left = max(0, retry.attempts - job.attempt)
    ends = "" if retry.on == BAD_ENDS else f", after {', '.join(str(state) for state in retry.on)}"
    return f"{left} of {retry.attempts - 1} left{ends}"


def _finished(job: Job, now_ms: int) -> str:
    if job.finished_ms is None:
        return ""
    took = text.between(job.started_ms, job.finished_ms, now_ms)
    return _time(job.finished_ms, now_ms) + (f", took {text.duration(took)}" if took is not None else "")


def _needs(job: Job) -> str:
    parts = [*job.job_class.capabilities, *([f"node {job.job_class.node}"] if _is_pinned(job) else [])]
    return text.clean(", ".join(parts))


def _is_pinned(job: Job) -> bool:
    """Whether it may run on its class's node only; after the end its preference alone tells the difference."""
    placement = job.policies.placement
    return job.job_class.node is not None and (placement is None or placement.prefer is None)


def _prefers(job: Job, now_ms: int) -> str:
    placement = job.policies.placement
    if placement is None or placement.prefer is None:
        return ""
    waits = "" if job.failover_ms is None else f", until {text.moment(job.failover_ms)}"
    return text.clean(f"node {placement.prefer}{waits}")


def _time(at_ms: int | None, now_ms: int) -> str:
    return "" if at_ms is None else f"{text.moment(at_ms)} ({text.ago(at_ms, now_ms)})"


def _factory(job: Job) -> Mapping[str, Any]:
    """A classic posting's factory; what somebody else wrote in its place is shown as it is."""
    factory: Any = job.factory
    return {"name": factory} if factory and not isinstance(factory, Mapping) else factory or {}


def _mapping(label: str, values: Mapping[str, Any]) -> list[str]:
    lines = [f"{text.clean(key)} = {text.brief_json(value, VALUE_LIMIT)}" for key, value in values.items()]
    return [_line(label if number == 0 else "", line) for number, line in enumerate(lines)]


def _line(label: str, value: str) -> str:
    return f"{label:<{LABEL_WIDTH}}{value}" if value.strip() else ""


def _text_of(cell: Cell | str) -> str:
    return cell if isinstance(cell, str) else cell.text
