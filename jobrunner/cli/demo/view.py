"""What a person sees while the demo runs, on stderr: live on a terminal, line by line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from jobrunner import times
from jobrunner.cli import output, states, text
from jobrunner.model import AtomRecord, Job

if TYPE_CHECKING:
    from jobrunner.cli.demo.processes import Conductor

FRAME_S = 0.1
INDENT = " " * 6


class View:
    """Says what happens, and shows how the atoms are. Closing twice is fine."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._live: Any = None
        self._console: Any = None
        self._said: dict[str, str] = {}
        self._next_frame = 0.0

    def __enter__(self) -> View:
        if output.is_terminal(sys.stderr):
            from rich.console import Console
            from rich.live import Live

            self._console = Console(
                file=sys.stderr, highlight=False, markup=False, no_color=not output.has_colour(sys.stderr)
            )
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the live part away; what was said stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, words: str, *, alarm: bool = False) -> None:
        """A step of the story."""
        line = f"{time.monotonic() - self._began:5.1f} s  {text.clean(words)}"
        if self._live is not None:
            from rich.text import Text

            self._console.print(Text(line, style="bold red" if alarm else ""))
        else:
            print(line, file=sys.stderr, flush=True)

    def show(self, job: Job, atoms: Sequence[AtomRecord], conductors: Sequence[Conductor]) -> None:
        """How the job's atoms are now."""
        if self._live is None:
            self._say_changes(atoms)
        elif time.monotonic() >= self._next_frame:
            self._next_frame = time.monotonic() + FRAME_S
            self._live.update(frame(job, atoms, conductors, width=self._console.width), refresh=True)

    def _say_changes(self, atoms: Sequence[AtomRecord]) -> None:
        for atom in atoms:
            state = f"{atom.state} on {atom.node}" if atom.node else ""
            if state and self._said.get(atom.name) != state:
                self._said[atom.name] = state
                self.say(f"  {atom.name}: {state}")


def frame(job: Job, atoms: Sequence[AtomRecord], conductors: Sequence[Conductor], *, width: int) -> Any:
    """The live part: the conductors, and a line for each atom."""
    from rich.console import Group
    from rich.text import Text

    from jobrunner.cli.atom_lines import AtomLines

    who = Text(INDENT)
    for conductor in conductors:
        alive = conductor.is_alive
        runs = alive and job.node == conductor.name and not job.state.is_terminal
        words = "runs the job" if runs else "waits for work" if alive else "killed"
        who.append("● " if states.has_unicode() else "* ", style="green" if alive else "bold red")
        who.append(f"{conductor.name} ", style="bold")
        who.append(f"{words}    ", style="cyan" if runs else "bright_black" if alive else "bold red")
    dead = {conductor.name for conductor in conductors if not conductor.is_alive}
    atoms = [_stopped(atom) if atom.state == "RUNNING" and atom.node in dead else atom for atom in atoms]
    names = max((text.width(atom.name) for atom in atoms), default=0)
    lines = AtomLines(name_width=names, width=width, now_ms=times.now_ms()).lines(job, atoms, len(atoms))
    shown = [who, *lines]
    for line in shown:
        line.truncate(width - 1, overflow="ellipsis")
    return Group(Text(), *shown)


def _stopped(atom: AtomRecord) -> AtomRecord:
    """The atom as what it is: the store has it as running until another conductor starts it again."""
    return replace(atom, state="SUSPENDED", detail="its conductor was killed")
