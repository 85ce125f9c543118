"""A snapshot as lines for a terminal of some width and height. Nothing here reads a clock or a database."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import set_cell_size
from rich.text import Text

from jobrunner.cli import text
from jobrunner.cli.atom_lines import NAME_LIMIT, AtomLines
from jobrunner.cli.isolation import usage_brief
from jobrunner.cli.list import about
from jobrunner.cli.room import Room, share
from jobrunner.cli.snapshot import IN_LINE, Snapshot
from jobrunner.cli.states import DONE_ATOMS, has_unicode, job_look
from jobrunner.cli.waits import waits_for
from jobrunner.model import AtomRecord, Job, JobState

TYPE_LIMIT = 28
NODE_LIMIT = 16
STATE_WIDTH = 9
TIME_WIDTH = 8
ROOMY_HEIGHT = 16
"""From so many lines on the parts get headings."""
NOTICES_SHOWN = 3

COUNTED = (JobState.RUNNING, JobState.SUSPENDED, JobState.WAITING, JobState.SCHEDULED, JobState.BLOCKED)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Columns, and lines; None for as many as it takes."""

    width: int
    height: int | None = None


def frame(snapshot: Snapshot, *, now_ms: int, size: Size) -> Text:
    """The snapshot as one text of at most ``size.height`` lines."""
    lines = list(_Frame(snapshot, now_ms, size).lines())
    if size.height is not None:
        del lines[size.height :]
    for line in lines:
        line.truncate(size.width, overflow="ellipsis")
    return Text("\n", no_wrap=True, end="").join(lines)


class _Frame:
    def __init__(self, snapshot: Snapshot, now_ms: int, size: Size) -> None:
        self._snapshot = snapshot
        self._now_ms = now_ms
        self._size = size
        self._with_atoms = [
            job
            for job in (*snapshot.under_way, *snapshot.ended)
            if job.state not in IN_LINE and job.id in snapshot.atoms
        ]
        shown = {job.id for job in self._with_atoms}
        self._ended = [job for job in snapshot.ended if job.id not in shown]
        self._type_width = _widest((job.type for job in snapshot.jobs), TYPE_LIMIT)
        self._node_width = _widest((job.node or "" for job in snapshot.jobs), NODE_LIMIT)

    def lines(self) -> Iterator[Text]:
        top, bottom = list(self._header()), list(self._notices())
        headings = [bool(self._with_atoms), bool(self._snapshot.in_line), bool(self._ended)]
        roomy = self._size.height is None or self._size.height >= ROOMY_HEIGHT
        apart = sum(headings) - 1 if roomy and sum(headings) > 1 else 0
        left = None if self._size.height is None else self._size.height - len(top) - len(bottom) - apart
        atoms = [len(self._atoms(job)) for job in self._with_atoms]
        room = share(left, atoms, len(self._snapshot.in_line), len(self._ended))
        parts = [list(self._working(room)), list(self._waiting(room)), list(self._finished(room))]
        yield from top
        first = True
        for part in parts:
            if part and not first and apart:
                yield Text()
            yield from part
            first = first and not part
        yield from bottom

    def _header(self) -> Iterator[Text]:
        left = Text.assemble((" jobrunner", "bold"))
        for state in COUNTED:
            if number := self._snapshot.counts.get(state, 0):
                look = job_look(state)
                left.append("   ").append(f"{look.mark} {number:,} {state.value.lower()}", style=look.style)
        if not any(self._snapshot.counts.get(state) for state in COUNTED):
            left.append("   nothing to do", style="bright_black")
        right = Text(style="bright_black")
        if self._snapshot.nodes is not None:
            right.append(f"{self._snapshot.nodes} node{'' if self._snapshot.nodes == 1 else 's'} · ")
        right.append(_clock(self._now_ms) + " ")
        gap = self._size.width - left.cell_len - right.cell_len
        yield left.append(" " * gap).append_text(right) if gap > 0 else left
        yield Text(("─" if has_unicode() else "-") * self._size.width, style="bright_black")
        if not self._snapshot.jobs and not self._snapshot.problems:
            yield Text(" No jobs yet. `jobrunner post --help` tells how to post one.", style="bright_black")

    def _notices(self) -> Iterator[Text]:
        snapshot = self._snapshot
        if snapshot.away is not None and snapshot.away_since_ms is not None:
            for_so_long = text.duration((self._now_ms - snapshot.away_since_ms) / 1000)
            trying = (
                f"Away for {for_so_long}; shown is what was known at {_clock(snapshot.at_ms)}. Trying on ..."
            )
            yield from self._notice(snapshot.away, "bold yellow")
            yield Text(f"   {trying}", style="yellow")
        elif snapshot.nodes == 0 and snapshot.counts.get(JobState.WAITING):
            yield from self._notice(
                "No node is alive, so nothing is done. `jobrunner run` starts one.", "yellow"
            )
        for problem in snapshot.problems[:NOTICES_SHOWN]:
            yield from self._notice(problem, "yellow")
        if len(snapshot.problems) > NOTICES_SHOWN:
            yield Text(f" ! and {len(snapshot.problems) - NOTICES_SHOWN} more like that", style="yellow")

    def _notice(self, words: str, style: str) -> Iterator[Text]:
        """A sentence, over as many lines as it needs."""
        wrapped = textwrap.wrap(text.clean(words), max(20, self._size.width - 4))
        for number, line in enumerate(wrapped):
            yield Text(f"{'   ' if number else ' ! '}{line}", style=style)

    def _working(self, room: Room) -> Iterator[Text]:
        shown, more = _cut(self._with_atoms, room.with_atoms)
        for number, job in enumerate(shown):
            yield self._job(job)
            yield from self._atom_lines.lines(job, self._atoms(job), room.atoms[number])
        if more:
            yield self._more(f"{more} more under way")

    def _waiting(self, room: Room) -> Iterator[Text]:
        shown, _ = _cut(self._snapshot.in_line, room.in_line)
        for job in shown:
            yield self._job(job)
        total = sum(self._snapshot.counts.get(state, 0) for state in IN_LINE)
        if room.in_line and total > len(shown):
            yield self._more(f"{total - len(shown):,} more in line")

    def _finished(self, room: Room) -> Iterator[Text]:
        for job in self._ended[: room.ended]:
            yield self._job(job)

    def _job(self, job: Job) -> Text:
        look = job_look(job.state)
        line = Text.assemble(
            (f" {look.mark} {job.state.value:<{STATE_WIDTH}}", look.style), "  ", (job.short_id, "bold")
        )
        line.append("  ").append(set_cell_size(text.clean(job.type), self._type_width))
        if self._node_width:
            line.append("  ").append(
                set_cell_size(text.clean(job.node or ""), self._node_width), style="blue"
            )
        line.append(f"  {self._time(job):>{TIME_WIDTH}}  ")
        return line.append_text(self._remark(job))

    def _time(self, job: Job) -> str:
        """How long it has run; of a job that waits, how long it has waited, or has to."""
        if job.state is JobState.SCHEDULED and job.available_ms > self._now_ms:
            return f"in {text.duration((job.available_ms - self._now_ms) / 1000)}"
        start = job.started_ms if job.started_ms is not None else job.created_ms
        return text.duration(text.between(start, job.finished_ms, self._now_ms))

    def _remark(self, job: Job) -> Text:
        atoms = self._atoms(job)
        if job.error is not None:
            return Text(about(job), style="red")
        if job.state.is_terminal:
            return Text(text.ago(job.finished_ms or job.updated_ms, self._now_ms), style="bright_black")
        if job.cancel is not None:
            return Text("being cancelled", style="magenta")
        if atoms:
            done = sum(atom.state in DONE_ATOMS for atom in atoms)
            again = f", attempt {job.attempt}" if job.attempt > 1 else ""
            used = usage_brief(job)
            line = Text(
                f"{done} of {len(atoms)} atoms{again}{f', {used}' if used else ''}", style="bright_black"
            )
            if waits := waits_for(job, self._now_ms):
                line.append(f", waits for {waits}", style="yellow")
            return line
        return Text(about(job), style="yellow" if job.note else "bright_black")

    def _more(self, words: str) -> Text:
        return Text(f"   {'…' if has_unicode() else '...'} {words}", style="bright_black")

    def _atoms(self, job: Job) -> Sequence[AtomRecord]:
        return self._snapshot.atoms.get(job.id, ())

    @property
    def _atom_lines(self) -> AtomLines:
        names = (atom.name for job in self._with_atoms for atom in self._atoms(job))
        return AtomLines(name_width=_widest(names, NAME_LIMIT), width=self._size.width, now_ms=self._now_ms)


def _cut(jobs: Sequence[Job], lines: int) -> tuple[Sequence[Job], int]:
    """The jobs for so many lines, and how many more there are; telling that takes the last line."""
    if len(jobs) <= lines:
        return jobs, 0
    shown = jobs[: max(0, lines - 1)]
    return shown, len(jobs) - len(shown) if lines else 0


def _clock(at_ms: int) -> str:
    """The time of day."""
    return text.moment(at_ms)[-8:]


def _widest(words: Iterator[str] | Sequence[str], limit: int) -> int:
    return min(limit, max((text.width(text.clean(word)) for word in words), default=0))
