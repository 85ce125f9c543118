"""Statements that are compiled once, since compiling one costs more than sending it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A statement as one driver takes it; ``names`` are its parameters in the order of their places."""

    sql: str
    names: tuple[str, ...]
    take: Callable[[Row], tuple[Any, ...]]
    """Takes the values of ``names``: made once, since it runs for every row."""
    constants: Mapping[str, Any]
    processors: tuple[Callable[[Any], Any] | None, ...]
    """What makes a driver's value of ours, for each place; empty if none needs that."""
    many: tuple[str, ...]
    places: int
    values_at: tuple[int, int] | None = field(default=None)
    """Where the first row's values stand in an INSERT: more rows can follow them."""

    def bind(self, row: Row) -> tuple[Any, ...]:
        """The parameters for one execution."""
        values = {**self.constants, **row} if self.constants else row
        for many in self.many:
            values = {**values, **self._expanded(many, row[many])}
        taken = self.take(values)
        if not self.processors:
            return taken
        pairs = zip(taken, self.processors, strict=True)
        return tuple([value if process is None else process(value) for value, process in pairs])

    def _expanded(self, many: str, given: Sequence[Any]) -> dict[str, Any]:
        """A list of values as so many single ones as there are places: the last one stands in all that are left."""
        last = given[-1]
        return {
            f"{many}_{place + 1}": given[place] if place < len(given) else last
            for place in range(self.places)
        }


class Statement:
    """One of SQLAlchemy's statements, compiled once for each dialect. Safe for several threads.

    :param core: the statement; its values are bound parameters
    :param columns: the columns that an INSERT sets; None if the statement says so itself
    :param many: the names of its expanding parameters, if it has any: lists of one length, which is rounded up to a
        power of two by repeating the last value, so that there are few texts; so they are for ``IN`` only. They must
        not be empty.
    """

    def __init__(
        self,
        core: sa.ClauseElement,
        *,
        columns: Sequence[str] | None = None,
        many: str | tuple[str, ...] = (),
    ) -> None:
        # Inline: nobody asks for the keys that the server makes.
        self._core = core.inline() if isinstance(core, sa.Insert) else core
        self._columns = None if columns is None else list(columns)
        self._many = (many,) if isinstance(many, str) else many
        self._lock = threading.Lock()
        self._texts: dict[tuple[str, str, int], Text] = {}

    @property
    def core(self) -> sa.ClauseElement:
        """For a connection of SQLAlchemy's."""
        return self._core

    def text(self, dialect: Dialect, row: Row) -> Text:
        """The text that serves these values."""
        places = 1 << (len(row[self._many[0]]) - 1).bit_length() if self._many else 0
        key = (dialect.name, dialect.paramstyle, places)
        found = self._texts.get(key)
        if found is None:
            with self._lock:
                found = self._texts[key] = self._compiled(dialect, places)
        return found

    def _compiled(self, dialect: Dialect, places: int) -> Text:
        compiled = self._core.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)
        given: dict[str, Any] = {name: None for name, bind in compiled.binds.items() if bind.required}
        given |= {many: [None] * places for many in self._many}
        state = compiled.construct_expanded_state(given, escape_names=False)
        sql, names = _by_place(state.statement, state.positiontup)
        wanted = {f"{many}_{place + 1}" for many in self._many for place in range(places)} | given.keys()
        return Text(
            sql=sql,
            names=names,
            take=_taker(names),
            constants={name: value for name, value in state.parameters.items() if name not in wanted},
            processors=_processors(compiled, dialect, names),
            many=self._many,
            places=places,
            values_at=_values_at(sql),
        )


def _taker(names: tuple[str, ...]) -> Callable[[Row], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple([row[name] for name in names])


def _processors(
    compiled: SQLCompiler, dialect: Dialect, names: tuple[str, ...]
) -> tuple[Callable[[Any], Any] | None, ...]:
    """What makes a driver's value of ours, where it needs that: SQLite has no dates and times."""
    found = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect)
        for name, bind in compiled.binds.items()
        if not bind.expanding
    }
    by_place = tuple([found.get(name) for name in names])
    return by_place if any(by_place) else ()


_NAMED = re.compile(r"%\((\w+)\)s")
_VALUES = re.compile(r"\bVALUES (\(%s(?:, %s)*\))")


def _by_place(sql: str, names: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The text with its parameters by place: some dialects name them, though their drivers take both."""
    if names is not None:
        return sql, tuple(names)
    return _NAMED.sub("%s", sql), tuple(_NAMED.findall(sql))


def _values_at(sql: str) -> tuple[int, int] | None:
    found = _VALUES.search(sql) if sql.startswith("INSERT") else None
    return None if found is None else found.span(1)
