"""What is recorded of an atom, to tell what changes: only changed columns of changed rows are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskflow.persistence import models

from jobrunner.errors import NotStorable
from jobrunner.persistence.journal.rows import encode_column

_BY_IDENTITY = ("results", "failure", "revert_results", "revert_failure")


class KnownAtom:
    """What is recorded of one atom, or is pending.

    Results and failures are replaced, never changed in place: they are the same if they are the same object, which
    saves encoding large ones. Meta data and retries' histories may be changed in place, so their texts are compared.

    :param row: the texts of the atom's columns, if they were made already
    """

    __slots__ = ("_history", "_intention", "_meta", "_objects", "state")

    def __init__(self, detail: models.AtomDetail, row: Mapping[str, Any] | None = None) -> None:
        self.state: str | None = detail.state
        self._intention: str | None = detail.intention
        self._objects = _objects(detail)
        self._meta = row["meta"] if row is not None else _text(detail, "meta")
        self._history: str | None = None
        if isinstance(detail, models.RetryDetail):
            self._history = row["results"] if row is not None else _text(detail, "results")

    def changed(self, detail: models.AtomDetail, limit: int) -> dict[str, Any]:
        """The columns that differ from what is known, as they are to be written; raises NotStorable."""
        columns: dict[str, Any] = {}
        if detail.state != self.state:
            columns["state"] = detail.state
        if detail.intention != self._intention:
            columns["intention"] = detail.intention
        meta = encode_column(detail, "meta", limit)
        if meta != self._meta:
            columns["meta"] = meta
        for name, known, given in zip(_BY_IDENTITY, self._objects, _objects(detail), strict=True):
            if given is not known:
                columns[name] = encode_column(detail, name, limit)
        if isinstance(detail, models.RetryDetail):
            history = encode_column(detail, "results", limit)
            if history == self._history:
                columns.pop("results", None)
            else:
                columns["results"] = history
        return columns

    def note(self, detail: models.AtomDetail, columns: Mapping[str, Any]) -> None:
        """Remember what was found to have changed."""
        self.state = detail.state
        self._intention = detail.intention
        self._objects = _objects(detail)
        self._meta = columns.get("meta", self._meta)
        if isinstance(detail, models.RetryDetail):
            self._history = columns.get("results", self._history)


def _objects(detail: models.AtomDetail) -> tuple[Any, ...]:
    return (detail.results, detail.failure, detail.revert_results, detail.revert_failure)


def _text(detail: models.AtomDetail, column: str) -> Any:
    try:
        return encode_column(detail, column)
    except NotStorable:
        return None  # somebody else wrote it; it is refused when it is to be written again
