"""The atoms of one job as lines: all of them, or, where room is short, those that matter now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import set_cell_size
from rich.text import Text

from jobrunner.cli import text
from jobrunner.cli.states import ACTIVE_ATOMS, DONE_ATOMS, atom_look, has_unicode
from jobrunner.model import AtomRecord, Job

NAME_LIMIT = 28
BAR_WIDTH = 20
BAR_WIDTH_NARROW = 10
NARROW = 90
"""Columns below which bars are short; below the next no bars are drawn."""
VERY_NARROW = 60
INDENT = " " * 6
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINNER_ASCII = "|/-\\"
SPINNER_STEP_MS = 250
PULSE_WIDTH = 4


@dataclass(frozen=True, kw_only=True)
class AtomLines:
    """How wide things are, and what time it is."""

    name_width: int
    width: int
    now_ms: int

    def lines(self, job: Job, atoms: Sequence[AtomRecord], room: int) -> Iterator[Text]:
        """At most ``room`` lines; if that is not enough for all, those under way, and the others counted."""
        if len(atoms) <= room:
            shown: Sequence[AtomRecord] = atoms
        else:
            shown = self._most_important(atoms, max(0, room - 1))
        for atom in shown:
            yield self._line(job, atom)
        if len(shown) < len(atoms) and room > 0:
            yield self._counted([atom for atom in atoms if atom not in shown])

    def _most_important(self, atoms: Sequence[AtomRecord], room: int) -> list[AtomRecord]:
        ranked = sorted(range(len(atoms)), key=lambda number: (_rank(atoms[number]), -number))
        return [atoms[number] for number in sorted(ranked[:room])]

    def _line(self, job: Job, atom: AtomRecord) -> Text:
        look = atom_look(atom.state)
        mark = self._spinner() if atom.state in ACTIVE_ATOMS else look.mark
        name = set_cell_size(text.clean(atom.name), self.name_width)
        line = Text(INDENT).append(f"{mark} ", style=look.style)
        line.append(name, style="" if atom.state != "PENDING" else "bright_black")
        if atom.state == "PENDING":
            return line
        line.append_text(self._bar(atom))
        line.append(f" {self._took(atom):>7}  ", style="bright_black")
        return line.append_text(self._remark(job, atom))

    def _bar(self, atom: AtomRecord) -> Text:
        wide = BAR_WIDTH if self.width >= NARROW else BAR_WIDTH_NARROW if self.width >= VERY_NARROW else 0
        full, empty = ("━", "━") if has_unicode() else ("=", "-")
        style = atom_look(atom.state).style
        if not wide:
            return Text(f" {self._percent(atom):>4}")
        bar = Text("  ")
        if atom.state in ACTIVE_ATOMS and atom.progress is None:
            start = self.now_ms // SPINNER_STEP_MS % (wide + PULSE_WIDTH)
            cells = [start - PULSE_WIDTH <= cell < start for cell in range(wide)]
        else:
            share = 1.0 if atom.state in DONE_ATOMS else min(1.0, max(0.0, atom.progress or 0.0))
            cells = [cell < round(share * wide) for cell in range(wide)]
        for lit in cells:
            bar.append(full if lit else empty, style=style if lit else "grey23")
        return bar.append(f" {self._percent(atom):>4}")

    def _percent(self, atom: AtomRecord) -> str:
        return (
            f"{min(1.0, max(0.0, atom.progress)):.0%}" if atom.state in ACTIVE_ATOMS and atom.progress else ""
        )

    def _took(self, atom: AtomRecord) -> str:
        if atom.state in ACTIVE_ATOMS:
            return text.duration(text.between(atom.started_ms, None, self.now_ms))
        return (
            text.duration(text.between(atom.started_ms, atom.finished_ms, self.now_ms))
            if atom.finished_ms
            else ""
        )

    def _remark(self, job: Job, atom: AtomRecord) -> Text:
        remark = Text()
        if atom.starts > 1:
            remark.append(f"start {atom.starts}  ", style="yellow")
        if atom.node and atom.node != job.node:
            remark.append(f"on {text.clean(atom.node)}  ", style="blue")
        if atom.failure:
            return remark.append(text.clean(atom.failure), style="red")
        if atom.kind == "retry" and not atom.detail:
            return remark.append("(retry)", style="bright_black")
        return remark.append(text.clean(atom.detail or ""), style="bright_black")

    def _counted(self, atoms: Sequence[AtomRecord]) -> Text:
        done = sum(atom.state in DONE_ATOMS for atom in atoms)
        to_come = sum(atom.state == "PENDING" for atom in atoms)
        others = len(atoms) - done - to_come
        parts = [(done, "done"), (others, "more under way"), (to_come, "to come")]
        words = ", ".join(f"{number} {what}" for number, what in parts if number)
        return Text(f"{INDENT}{'…' if has_unicode() else '...'} {words}", style="bright_black")

    def _spinner(self) -> str:
        signs = SPINNER if has_unicode() else SPINNER_ASCII
        return signs[self.now_ms // SPINNER_STEP_MS % len(signs)]


def _rank(atom: AtomRecord) -> int:
    """What to show first: what runs, then what failed, then what was done last, then what comes."""
    if atom.state in ACTIVE_ATOMS:
        return 0
    if atom.failure or "FAILURE" in atom.state:
        return 1
    return 2 if atom.state in DONE_ATOMS else 3
