"""TaskFlow's details as rows, and back.

The decoder of retries is ours: TaskFlow's own shadows a variable and reads a history back wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from taskflow.persistence import models
from taskflow.types import failure as ft

from jobrunner.errors import CorruptRow, NotStorable
from jobrunner.persistence.encoding import RESULT_LIMIT_BYTES, clean, clip, encode
from jobrunner.persistence.flows import loads

_NOT_IN_NAMES = re.compile("[\0\ud800-\udfff\U00010000-\U0010ffff]")
"""TaskFlow's tables on MariaDB/MySQL hold what UTF-8 writes in up to three bytes; lone surrogates are no text."""
META_LIMIT_BYTES = 60_000
"""TaskFlow's column for an atom's meta data is a TEXT of 65,535 bytes on MariaDB/MySQL."""
REVERT_LIMIT_BYTES = 60_000
"""So are those for what a revert returned and how it failed."""
FAILURE_LIMIT_BYTES = 256 * 1024
FAILURE_PART_BYTES = 16_000
BRIEF_FAILURE_PART_BYTES = 400
"""Bytes that are kept of each text in a failure: its message, its traceback, each of its arguments."""


def encode_meta(meta: Mapping[str, Any], what: str) -> str:
    """An atom's or flow's meta data as text; too much of it loses its progress details first, and then is refused."""
    try:
        return encode(meta, what=f"The meta data of {what}", limit=META_LIMIT_BYTES)
    except NotStorable:
        slim = {key: value for key, value in meta.items() if key != "progress_details"}
        return encode(slim, what=f"The meta data of {what}", limit=META_LIMIT_BYTES)


def encode_failure(failure: ft.Failure | None, limit: int = FAILURE_LIMIT_BYTES) -> str | None:
    """A failure as text of at most ``limit`` bytes: always possible.

    What JSON cannot hold of it is replaced by how it looks, and long texts lose their middles.
    """
    if failure is None:
        return None
    part = FAILURE_PART_BYTES
    while len(text := json.dumps(_failure_dict(failure, part), separators=(",", ":"))) > limit:
        part //= 2
    return text


def _failure_dict(failure: ft.Failure, part: int, depth: int = 0) -> dict[str, Any]:
    """As TaskFlow's ``to_dict``, which takes twice as long for each further cause, and has no end if they go round."""
    causes = failure.causes[:3] if depth < 2 else ()
    return {
        "exception_str": clip(clean(failure.exception_str or ""), part),
        "traceback_str": clip(clean(failure.traceback_str or ""), part),
        "exc_type_names": [clean(name) for name in failure],
        "version": failure.DICT_VERSION,
        "exc_args": [_plain(argument, part) for argument in failure.exception_args[:10]],
        "causes": [_failure_dict(cause, part // 4, depth + 1) for cause in causes],
    }


def _plain(value: Any, limit: int) -> Any:
    try:
        encode(value, limit=limit)
    except NotStorable:
        return clip(clean(_looks(value)), limit)
    return value


def _looks(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 (it is the task's code that runs here)
        return f"a {type(value).__name__}"


def encode_history(detail: models.RetryDetail, limit: int = RESULT_LIMIT_BYTES) -> str:
    """A retry's history: pairs of what it returned and how the atoms below it failed then.

    When it grows too long for all of that, failures are kept in brief.
    """
    what = f"The history of the retry {detail.name}"
    try:
        return encode(_history(detail, FAILURE_PART_BYTES), what=what, limit=limit)
    except NotStorable:
        return encode(_history(detail, BRIEF_FAILURE_PART_BYTES), what=what, limit=limit)


def _history(detail: models.RetryDetail, part: int) -> list[Any]:
    return [
        [value, {name: _failure_dict(failure, part) for name, failure in failures.items()}]
        for value, failures in detail.results or []
    ]


def decode_flow(row: Mapping[Any, Any]) -> models.FlowDetail:
    """A flow detail, without its atoms."""
    detail = models.FlowDetail(row["name"], row["uuid"])
    detail.state = row["state"]
    meta = loads(row["meta"])
    detail.meta = meta if isinstance(meta, dict) else {}
    return detail


def decode_atom(row: Mapping[Any, Any]) -> models.AtomDetail:
    """An atom detail; raises CorruptRow if its row cannot be read."""
    what = f"The record of atom {row['name']!r}"
    try:
        detail = models.atom_detail_class(row["atom_type"])(row["name"], row["uuid"])
        detail.state = row["state"]
        detail.intention = row["intention"]
        detail.version = row["version"]
        meta = loads(row["meta"])
        detail.meta = meta if isinstance(meta, dict) else {}
        detail.failure = _decode_failure(row["failure"], what)
        detail.revert_failure = _decode_failure(row["revert_failure"], what)
        detail.revert_results = _decode(row["revert_results"], what)
        results = _decode(row["results"], what)
        detail.results = _decode_history(results) if isinstance(detail, models.RetryDetail) else results
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CorruptRow(f"{what} cannot be read: {error}.") from error
    return detail


def _decode(value: Any, what: str) -> Any:
    decoded = loads(value)
    if decoded is None and isinstance(value, str) and value != "null":
        raise CorruptRow(f"{what} holds text that is not JSON: {value[:60]!r}.")
    return decoded


def _decode_failure(value: Any, what: str) -> ft.Failure | None:
    data = _decode(value, what)
    return ft.Failure.from_dict(data) if data else None


def _decode_history(results: Any) -> list[tuple[Any, dict[str, ft.Failure]]]:
    history = []
    for value, failures in results or []:
        history.append((value, {name: ft.Failure.from_dict(data) for name, data in failures.items()}))
    return history


def flow_row(detail: models.FlowDetail, book_id: str) -> dict[str, Any]:
    """The whole row of a flow detail."""
    return {
        "uuid": detail.uuid,
        "parent_uuid": book_id,
        "name": detail.name[:255] if detail.name else detail.name,
        "state": detail.state,
        "meta": encode(detail.meta or {}, what=f"The meta data of flow {detail.name}"),
    }


def atom_row(detail: models.AtomDetail, flow_id: str, limit: int = RESULT_LIMIT_BYTES) -> dict[str, Any]:
    """The whole row of an atom detail; raises NotStorable if a part of it cannot be stored."""
    _check_name(detail.name)
    row = {
        "uuid": detail.uuid,
        "parent_uuid": flow_id,
        "name": detail.name,
        "atom_type": models.atom_detail_type(detail),
        "version": _version(detail.version),
    }
    return row | {column: encode_column(detail, column, limit) for column in ATOM_COLUMNS}


def _check_name(name: str) -> None:
    if len(name) > NAME_LENGTH or _NOT_IN_NAMES.search(name):
        raise NotStorable(
            f"The name of the atom {name[:60]!r} cannot be stored: it is too long, or has characters that TaskFlow's "
            "tables cannot hold.",
            hint=f"Give the task a name of at most {NAME_LENGTH} plain characters.",
        )


NAME_LENGTH = 255
ATOM_COLUMNS = ("state", "intention", "meta", "results", "failure", "revert_results", "revert_failure")
"""What may change about an atom while its flow runs."""


def encode_column(detail: models.AtomDetail, column: str, limit: int = RESULT_LIMIT_BYTES) -> str | None:
    """One column of an atom's row as text; ``limit`` is the largest result in bytes."""
    if column in ("state", "intention"):
        value: str | None = getattr(detail, column)
        return value
    if column == "meta":
        return encode_meta(detail.meta or {}, f"atom {detail.name}")
    if column == "failure":
        return encode_failure(detail.failure)
    if column == "revert_failure":
        return encode_failure(detail.revert_failure, REVERT_LIMIT_BYTES)
    if column == "revert_results":
        what = f"What the revert of atom {detail.name} returned"
        return _optional(detail.revert_results, what, REVERT_LIMIT_BYTES)
    if isinstance(detail, models.RetryDetail):
        return encode_history(detail, limit)
    return _optional(detail.results, f"The result of atom {detail.name}", limit)


def _optional(value: Any, what: str, limit: int) -> str | None:
    return None if value is None else encode(value, what=what, limit=limit)


def _version(version: Any) -> str | None:
    if version is None:
        return None
    return version if isinstance(version, str) else ".".join(str(part) for part in version)
