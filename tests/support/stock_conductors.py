"""Stock TaskFlow conductors in processes of their own, a program that posts for them, and their evidence."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskflow import engines
from taskflow.persistence import backends, models

from jobrunner.boards.taskflow.job import PostedJob
from jobrunner.boards.taskflow.jobboard import PostingBoard
from tests.support.boards import until
from tests.support.stock_conductor_program import steps
from tests.support.taskflow_boards import fetch_board

ROOT = Path(__file__).parents[2]
WITHIN = 30.0


@dataclass
class Conductor:
    """One stock conductor."""

    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


@dataclass
class Stage:
    """A board, where its flows are kept, and the conductors that a test starts on them."""

    directory: Path
    conf: dict[str, Any]
    conductors: list[Conductor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate, self.evidence_path = self.directory / "gate", self.directory / "evidence"
        self.persistence_conf = {"connection": f"jobrunner+sqlite:///{self.directory}/flows.sqlite"}
        self.persistence = backends.fetch(self.persistence_conf)
        with contextlib.closing(self.persistence.get_connection()) as connection:
            connection.upgrade()
        self.board: PostingBoard = fetch_board(self.conf, persistence=self.persistence)
        self.board.connect()

    @property
    def lease(self) -> float:
        return float(self.conf["lease"])

    def start(self, name: str = "alice", kind: str = "blocking", **options: Any) -> Conductor:
        settings = {
            "name": name,
            "kind": kind,
            "options": options,
            "board": self.conf,
            "persistence": self.persistence_conf,
        }
        log_path = self.directory / f"{len(self.conductors)}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.stock_conductor_program", json.dumps(settings)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self.conductors.append(Conductor(process, log_path))
        return self.conductors[-1]

    def post(self, name: str, *, held: bool = False) -> PostedJob:
        """Post as TaskFlow programs do: the flow goes to the persistence backend, a pointer to it onto the board."""
        book, flow = (
            models.LogBook(name),
            models.FlowDetail(name, f"00000000-0000-0000-0000-{time.time_ns() % 10**12:012}"),
        )
        book.add(flow)
        with contextlib.closing(self.persistence.get_connection()) as connection:
            connection.save_logbook(book)
        arguments = [name, str(self.evidence_path), str(self.gate) if held else None]
        engines.save_factory_details(flow, steps, arguments, {}, backend=self.persistence)
        return self.board.post(name, book=book, details={"flow_uuid": flow.uuid})

    def evidence(self, **wanted: str) -> list[dict[str, Any]]:
        if not self.evidence_path.exists():
            return []
        lines = [json.loads(line) for line in self.evidence_path.read_text().splitlines()]
        return [line for line in lines if wanted.items() <= line.items()]

    def started(self, atom: str, times: int = 1) -> dict[str, Any]:
        """Wait until an atom was started so many times; the last start."""
        try:
            until(lambda: len(self.evidence(atom=atom, what="start")) >= times, within=WITHIN)
        except AssertionError as error:
            raise AssertionError(self.tails()) from error
        return self.evidence(atom=atom, what="start")[times - 1]

    def complete(self, job: PostedJob) -> None:
        assert job.wait(timeout=WITHIN, max_delay=0.1), self.tails()

    def tails(self) -> str:
        return "\n".join(f"--- {each.pid}:\n{each.log[-4000:]}" for each in self.conductors)

    def close(self) -> None:
        for conductor in self.conductors:
            if conductor.process.poll() is None:
                conductor.process.kill()
            conductor.process.wait()
        self.board.close()
        self.persistence.close()
