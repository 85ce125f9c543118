"""Is the board there, is it this store's, and does its server keep what it is given?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from jobrunner.boards import open_board
from jobrunner.boards.board import Board
from jobrunner.jobs.health.finding import Finding, Health, Reporter, Subject
from jobrunner.passwords import hide_password

AREA = "board"

report = Reporter(AREA)


def look(subject: Subject) -> Iterator[Finding]:
    config = subject.context.config
    in_store = config.board_url == config.store_url
    if in_store and not subject.has_tables:
        yield report.ok("The board is in the store, and made with its tables.")
        return
    with _opened(subject) as board:
        counts = board.count()
        where = "The board in the store" if in_store else f"The board {hide_password(config.board_url)}"
        yield report.ok(
            f"{where} answers: {counts.waiting} waiting, {counts.delayed} delayed, {counts.claimed} claimed."
        )
        problems = board.check()
        for problem in problems:
            health = Health.ERROR if problem.severity == "error" else Health.WARNING
            yield Finding(area=AREA, health=health, what=problem.what, hint=problem.hint)
        if not in_store and not problems:
            yield report.ok("Its server's version and settings are fine.")
    if not in_store and not subject.has_tables:
        yield report.warning(
            "Whether the board belongs to this store was not looked at.", "Mend the store first."
        )


@contextlib.contextmanager
def _opened(subject: Subject) -> Iterator[Board]:
    """The board tied to the store; while there is no store, the board alone, so that its server is looked at anyway."""
    context = subject.context
    if subject.has_tables:
        board = context.open_board()
    else:
        board = open_board(
            context.config.board_url, database=context.database, prefix=context.config.board.prefix
        )
    try:
        yield board
    finally:
        board.close()
