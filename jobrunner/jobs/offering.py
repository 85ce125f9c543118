"""Offering jobs now that stood on the board for later, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobrunner.boards.board import Board
from jobrunner.model import Job
from jobrunner.persistence.store import board_entry

AT_ONCE = 200


def offer_now(board: Board, jobs: Sequence[Job]) -> None:
    """Let these jobs, which nobody runs, be claimed at once; raises BoardUnavailable. What is claimed stays so."""
    for start in range(0, len(jobs), AT_ONCE):
        batch = jobs[start : start + AT_ONCE]
        board.hasten([job.id for job in batch])
        board.post([replace(board_entry(job), available_ms=0) for job in batch])
