"""What is recorded of an atom, to tell what changes: only changed columns of changed rows are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskflow.persistence import models

from jobrunner.errors import NotStorable
from jobrunner.persistence.journal.rows import ATOM_COLUMNS, encode_column

_BY_IDENTITY = ("results", "failure", "revert_results", "revert_failure")


class KnownAtom:
    """What is recorded of one atom, or is pending.

    Results and failures are replaced, never changed in place: they are the same if they are the same object, which
    saves encoding large ones. Meta data and retries' histories may be changed in place, so their texts are compared.
    """

    def __init__(self, detail: models.AtomDetail) -> None:
        self.state: str | None = detail.state
        self._objects = _objects(detail)
        self._texts = {name: _text(detail, name) for name in ATOM_COLUMNS if _by_text(detail, name)}

    def changed(self, detail: models.AtomDetail, limit: int) -> dict[str, Any]:
        """The columns that differ from what is known, as they are to be written; raises NotStorable."""
        columns: dict[str, Any] = {}
        for name in ATOM_COLUMNS:
            if _by_text(detail, name):
                text = encode_column(detail, name, limit)
                if text != self._texts[name]:
                    columns[name] = text
            elif getattr(detail, name) is not self._objects[name]:
                columns[name] = encode_column(detail, name, limit)
        return columns

    def note(self, detail: models.AtomDetail, columns: Mapping[str, Any]) -> None:
        """Remember what was found to have changed."""
        self.state = detail.state
        self._objects = _objects(detail)
        self._texts |= {name: text for name, text in columns.items() if name in self._texts}


def _objects(detail: models.AtomDetail) -> dict[str, Any]:
    return {name: getattr(detail, name) for name in _BY_IDENTITY}


def _by_text(detail: models.AtomDetail, column: str) -> bool:
    return column not in _BY_IDENTITY or (column == "results" and isinstance(detail, models.RetryDetail))


def _text(detail: models.AtomDetail, column: str) -> Any:
    try:
        return encode_column(detail, column)
    except NotStorable:
        return None  # somebody else wrote it; it is refused when it is to be written again
