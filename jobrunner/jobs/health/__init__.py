"""The examination behind ``jobrunner doctor``: a list of looks at the parts, each of which yields findings.

- A look changes nothing that anybody would notice: it makes no file, no table, and no job.
- A look that fails becomes a finding itself; the others go on.
- Looks go in the order of the list, because what comes later may need what was found before.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

from sqlalchemy.exc import SQLAlchemyError

from jobrunner.errors import JobrunnerError
from jobrunner.jobs.health import board, configuration, machine, nodes, plugins, store
from jobrunner.jobs.health.finding import Finding, Health, Reporter, Subject
from jobrunner.persistence.server.faults import brief

__all__ = ["LOOKS", "Finding", "Health", "Reporter", "Subject", "examine"]

Look = Callable[[Subject], Iterator[Finding]]

LOOKS: tuple[tuple[str, Look], ...] = (
    (configuration.AREA, configuration.look),
    (store.AREA, store.look),
    (board.AREA, board.look),
    (plugins.AREA, plugins.look),
    (machine.AREA, machine.look),
    (nodes.AREA, nodes.look),
)


def examine(subject: Subject) -> Iterator[Finding]:
    """Everything there is to find, as it is found."""
    for area, look in LOOKS:
        yield from _looking(area, look, subject)


def _looking(area: str, look: Look, subject: Subject) -> Iterator[Finding]:
    report = Reporter(area)
    try:
        yield from look(subject)
    except JobrunnerError as error:
        yield report.failed(error)
    except SQLAlchemyError as error:
        yield report.error(
            f"The database refuses: {brief(error)}",
            "Check the account and its rights on the database that persistence.url names.",
            away=True,
        )
    except Exception as error:  # noqa: BLE001 - one broken look must not hide what the others see
        yield report.error(
            f"Could not be looked at: {type(error).__name__}: {error}",
            "Please report this.",
            detail="".join(traceback.format_exception(error)[-3:]).strip(),
        )
