"""Offering jobs now that stood on the board for later, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from jobrunner.boards.board import Board
from jobrunner.errors import BoardUnavailable
from jobrunner.jobs.context import JobContext
from jobrunner.model import Job
from jobrunner.persistence.store import board_entry

log = logging.getLogger(__name__)

AT_ONCE = 200


def offer(context: JobContext, jobs: Sequence[Job]) -> None:
    """Let these jobs, which nobody runs, be claimed at once; if the board is away, a leader sees to it later."""
    try:
        offer_now(context.board, jobs)
    except BoardUnavailable as error:
        log.warning(
            "%s What was changed is safe in the database; the job goes on when the board is back.",
            error.sentence,
        )


def call(board: Callable[[], Board], job_ids: Sequence[str]) -> None:
    """Let those be claimed at once whose turn it is; if the board is away, a leader calls them later."""
    if not job_ids:
        return
    try:
        board().hasten(job_ids)
    except BoardUnavailable as error:
        log.warning("%s Who waits is called when it is back.", error.sentence)


def offer_now(board: Board, jobs: Sequence[Job]) -> None:
    """Let these jobs, which nobody runs, be claimed at once; raises BoardUnavailable. What is claimed stays so."""
    in_order = sorted(jobs, key=lambda job: job.seq)  # see Store.entries
    for start in range(0, len(in_order), AT_ONCE):
        batch = in_order[start : start + AT_ONCE]
        board.hasten([job.id for job in batch])
        board.post([replace(board_entry(job), available_ms=0) for job in batch])
