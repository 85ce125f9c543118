"""The journal as TaskFlow sees it: a persistence backend that any TaskFlow program can use.

``{"connection": "jobrunner+sqlite:///path"}`` (or ``jobrunner+mysql+pymysql://...``, ``jobrunner+postgresql+psycopg://...``)
in TaskFlow's own ``backends.fetch`` gives one. Such a program gets the same promises as jobrunner's conductor, without
the fence: nobody else may write the same flow while it runs. Reads see what was recorded before them.

A flow is kept in memory while an engine of this process runs it, from RESUMING or RUNNING until it ends. What is
changed of any other flow is committed before the call returns, and then forgotten: another process may run it next, and
this one end.

Costs: ``update_*`` none while a flow runs, but for an atom that is about to run or revert and for the flow's end (one
commit each, shared), and one commit and one query a table while it does not; ``save_logbook`` one transaction;
``get_*`` one commit if something is pending, and one query a table.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from taskflow import exceptions as exc
from taskflow import states
from taskflow.persistence import base, models
from taskflow.storage import Storage

from jobrunner.errors import JobrunnerError, LeaseLost, NotStorable
from jobrunner.persistence.journal import books
from jobrunner.persistence.journal.books import load_flow
from jobrunner.persistence.journal.flow import FlowJournal
from jobrunner.persistence.journal.writer import Writer
from jobrunner.persistence.schema import upgrade
from jobrunner.persistence.server.database import Database
from jobrunner.persistence.tables import atomdetails, flowdetails, logbooks

__all__ = ["JournalBackend", "JournalConnection", "load_flow"]

SCHEME_PREFIX = "jobrunner+"


class JournalBackend(base.Backend):
    """TaskFlow's backend over a journal.

    :param conf: ``connection`` is the URL; ``patience`` the seconds for which an outage is waited out
    :param writer: a writer to share; without one the backend makes its own, and stops it when it is closed

    It blocks by itself before an atom runs or reverts and when a flow ends. jobrunner's own engine does without: it
    speaks to its flow's journal, and asks for its barriers where they cost least.

    It may be used again after it was closed, and in a process that was forked from the one that made it, which has no
    part in what that has under way.
    """

    def __init__(self, conf: Any = None, *, writer: Writer | None = None) -> None:
        super().__init__(conf)
        self._owns_writer = writer is None
        self._of_other_processes: list[Writer] = []
        self._begin(writer or _own_writer(self._conf))

    def _begin(self, writer: Writer) -> None:
        self._pid = os.getpid()
        self.writer = writer
        self.flows: dict[str, FlowJournal] = {}
        self.flow_of_atom: dict[str, str] = {}
        self.lock = threading.RLock()

    @property
    def database(self) -> Database:
        return self.writer.database

    def get_connection(self) -> JournalConnection:
        if self._owns_writer and self._pid != os.getpid():
            self._of_other_processes.append(self.writer)  # never to be stopped here, nor collected
            self._begin(_own_writer(self._conf))
        return JournalConnection(self)

    def adopt(self, flow: FlowJournal, detail: models.FlowDetail) -> None:
        """Record this flow through ``flow``; for an owner that loaded or made it."""
        if self._owns_writer:
            self.writer.start()
        with self.lock:
            self.flows[flow.flow_id] = flow
        self.note_atoms(flow, detail)
        self.writer.open(flow)

    def note_atoms(self, flow: FlowJournal, detail: models.FlowDetail) -> None:
        """Remember whose the atoms of a flow detail are."""
        with self.lock:
            self.flow_of_atom.update({atom.uuid: flow.flow_id for atom in detail})

    def forget(self, flow: FlowJournal) -> None:
        """Let go of a flow; nothing pending of it is written any more."""
        with self.lock:
            if self.flows.get(flow.flow_id) is flow:  # another thread may be at the same flow anew
                del self.flows[flow.flow_id]
                for atom in [atom for atom, owner in self.flow_of_atom.items() if owner == flow.flow_id]:
                    del self.flow_of_atom[atom]
        self.writer.close(flow)

    def close(self) -> None:
        """Write what is pending and let go of all flows. Closing twice is fine, and so is using it again."""
        if self._owns_writer and self._pid != os.getpid():
            return  # nothing here is this process's
        if self._owns_writer:
            self.writer.stop()
            self.database.close()
        with self.lock:
            for flow in self.flows.values():
                self.writer.close(flow)
            self.flows.clear()
            self.flow_of_atom.clear()


def _own_writer(conf: Any) -> Writer:
    url = str(conf.get("connection", "")).removeprefix(SCHEME_PREFIX)
    return Writer(Database(url), patience=float(conf.get("patience", 300.0)))


class JournalConnection(base.Connection):
    """TaskFlow's connection: cheap to make, nothing to close."""

    def __init__(self, backend: JournalBackend) -> None:
        self._backend = backend
        self._database = backend.database

    @property
    def backend(self) -> JournalBackend:
        return self._backend

    def close(self) -> None:
        """There is nothing to close: SQL connections are the writer's, or are pooled."""

    def upgrade(self) -> None:
        """Make or update the tables, TaskFlow's and ours."""
        with _failures("Failed upgrading the database"):
            upgrade(self._database)

    def validate(self) -> None:
        """Raise StorageFailure unless the database answers."""
        with _failures("Failed connecting to the database"), self._database.read() as connection:
            connection.execute(sa.select(sa.literal(1)))

    def clear_all(self) -> None:
        """Delete every logbook with all its flows and atoms."""
        with _failures("Failed clearing all entries"):
            with self._backend.lock:
                flows = list(self._backend.flows.values())
            self._flush(flows)
            for flow in flows:
                self._backend.forget(flow)
            self._database.retrying(_delete_all)

    def update_atom_details(self, atom_detail: models.AtomDetail) -> models.AtomDetail:
        """Record an atom; raises NotFound if no flow has it, NotStorable if it cannot be stored."""
        with _failures(f"Failed updating atom details with uuid '{atom_detail.uuid}'"):
            flow = self._flow_of_atom(atom_detail.uuid)
            with self._at_rest(flow) if not flow.runs_here else contextlib.nullcontext():
                if flow.record_atom(atom_detail) or flow.error is not None:
                    flow.barrier()
            return atom_detail

    def update_flow_details(self, flow_detail: models.FlowDetail) -> models.FlowDetail:
        """Record a flow and the atoms that are new in it; raises NotFound if it was never saved in a logbook.

        So it does when a flow ends that somebody has destroyed while it ran.
        """
        with _failures(f"Failed updating flow details with uuid '{flow_detail.uuid}'"):
            if flow_detail.state == states.RESUMING:
                self._let_go_of(flow_detail.uuid)
            flow = self._flow(flow_detail.uuid)
            goes_on = flow.goes_on_in(flow_detail.state) or _is_half_injected(flow_detail)
            with contextlib.nullcontext() if goes_on else self._at_rest(flow):
                if flow.record_flow(flow_detail):
                    self._backend.note_atoms(flow, flow_detail)
            if not goes_on:
                self._require_stored(flow_detail.uuid)
            return flow_detail

    def save_logbook(self, book: models.LogBook) -> models.LogBook:
        """Commit a logbook and all that is in it; what the store has beyond that stays, and is in the answer."""
        with _failures(f"Failed saving logbook '{book.uuid}'"):
            self._database.retrying(lambda connection: books.save_book(connection, book))
            with contextlib.ExitStack() as at_rest:
                flows = [self._saved_flow(detail, book.uuid) for detail in book]
                for flow in flows:
                    if not flow.runs_here:
                        at_rest.enter_context(self._at_rest(flow))
                self.backend.writer.flush(*flows)
                for flow in flows:
                    flow.barrier()  # raises what went wrong
            return self.get_logbook(book.uuid)

    @contextlib.contextmanager
    def _at_rest(self, flow: FlowJournal) -> Iterator[None]:
        """Commit what is recorded of a flow that nobody runs, and let go of it: what is known of it may be old soon."""
        try:
            yield
            flow.barrier()
        finally:
            if flow.error is not None or not flow.runs_here:  # another thread may begin to run it
                self._backend.forget(flow)

    def _require_stored(self, flow_id: str) -> None:
        """Changing a row that is gone is no error on SQLite and PostgreSQL."""
        with self._database.read() as connection:
            if load_flow(connection, flow_id, lazy=True) is None:
                raise exc.NotFound(f"No flow details found with uuid '{flow_id}'")

    def _let_go_of(self, flow_id: str) -> None:
        """What an engine that crashed here has left is old by now, if another process went on with the flow."""
        flow = self._backend.flows.get(flow_id)
        if flow is not None:
            self._flush([flow])
            self._backend.forget(flow)

    def _saved_flow(self, detail: models.FlowDetail, book_id: str) -> FlowJournal:
        try:
            flow = self._flow(detail.uuid)
        except exc.NotFound:
            flow = FlowJournal(self._backend.writer, detail, book_id=book_id)
            self._backend.adopt(flow, detail)
        else:
            flow.record_flow(detail)
            self._backend.note_atoms(flow, detail)
        return flow

    def destroy_logbook(self, book_uuid: str) -> None:
        """Delete a logbook with its flows and atoms; raises NotFound if there is none."""
        with _failures(f"Failed destroying logbook '{book_uuid}'"):
            with self._backend.lock:
                flows = [flow for flow in self._backend.flows.values() if flow.book_id == book_uuid]
            self._flush(flows)
            for flow in flows:
                self._backend.forget(flow)
            if self._database.retrying(lambda connection: books.delete_book(connection, book_uuid)) is None:
                raise exc.NotFound(f"No logbook found with uuid '{book_uuid}'")

    def get_logbook(self, book_uuid: str, lazy: bool = False) -> models.LogBook:
        with _failures(f"Failed getting logbook '{book_uuid}'"):
            book = self._find_logbook(book_uuid, lazy=lazy)
            if book is None:
                raise exc.NotFound(f"No logbook found with uuid '{book_uuid}'")
            return book

    def _find_logbook(self, book_uuid: str, *, lazy: bool) -> models.LogBook | None:
        self._flush_book(book_uuid)
        with self._database.read() as connection:
            return books.load_book(connection, book_uuid, lazy=lazy)

    def get_logbooks(self, lazy: bool = False) -> Iterator[models.LogBook]:
        with _failures("Failed getting logbooks"):
            with self._database.read() as connection:
                ids = list(connection.execute(sa.select(logbooks.c.uuid)).scalars())
            found = [self._find_logbook(book_id, lazy=lazy) for book_id in ids]
        yield from (book for book in found if book is not None)  # others are gone since they were listed

    def get_flows_for_book(self, book_uuid: str, lazy: bool = False) -> Iterator[models.FlowDetail]:
        with _failures(f"Failed getting flow details in logbook '{book_uuid}'"):
            self._flush_book(book_uuid)
            with self._database.read() as connection:
                details = books.flows_of(connection, book_uuid, lazy=lazy)
        yield from details

    def get_flow_details(self, fd_uuid: str, lazy: bool = False) -> models.FlowDetail:
        with _failures(f"Failed getting flow details with uuid '{fd_uuid}'"):
            self._flush_flow(fd_uuid)
            with self._database.read() as connection:
                found = load_flow(connection, fd_uuid, lazy=lazy)
            if found is None:
                raise exc.NotFound(f"No flow details found with uuid '{fd_uuid}'")
            return found[0]

    def get_atom_details(self, ad_uuid: str) -> models.AtomDetail:
        with _failures(f"Failed getting atom details with uuid '{ad_uuid}'"):
            self._flush_flow(self._backend.flow_of_atom.get(ad_uuid))
            with self._database.read() as connection:
                found = books.load_atom(connection, ad_uuid)
            if found is None:
                raise exc.NotFound(f"No atom details found with uuid '{ad_uuid}'")
            return found

    def get_atoms_for_flow(self, fd_uuid: str) -> Iterator[models.AtomDetail]:
        with _failures(f"Failed getting atom details in flow detail '{fd_uuid}'"):
            self._flush_flow(fd_uuid)
            with self._database.read() as connection:
                atoms = books.atoms_of(connection, fd_uuid)
        yield from atoms

    def _flush_book(self, book_id: str) -> None:
        with self._backend.lock:
            flows = [flow for flow in self._backend.flows.values() if flow.book_id == book_id]
        self._flush(flows)

    def _flush_flow(self, flow_id: str | None) -> None:
        flow = self._backend.flows.get(flow_id) if flow_id is not None else None
        if flow is not None:
            self._flush([flow])

    def _flush(self, flows: list[FlowJournal]) -> None:
        """Commit what is pending, so that a read sees it; a flow that has failed is read as it is stored."""
        pending = [flow for flow in flows if flow.has_pending()]
        if pending:
            self._backend.writer.flush(*pending)

    def _flow(self, flow_id: str) -> FlowJournal:
        flow = self._backend.flows.get(flow_id)
        if flow is not None:
            return flow
        with self._database.read() as connection:
            found = load_flow(connection, flow_id)
        if found is None:
            raise exc.NotFound(f"No flow details found with uuid '{flow_id}'")
        detail, book_id = found
        with self._backend.lock:
            if flow_id not in self._backend.flows:
                flow = FlowJournal(self._backend.writer, detail, book_id=book_id, stored=True)
                self._backend.adopt(flow, detail)
            return self._backend.flows[flow_id]

    def _flow_of_atom(self, atom_id: str) -> FlowJournal:
        flow_id = self._backend.flow_of_atom.get(atom_id)
        if flow_id is None:
            with self._database.read() as connection:
                flow_id = books.flow_of_atom(connection, atom_id)
            if flow_id is None:
                raise exc.NotFound(f"No atom details found with uuid '{atom_id}'")
        return self._flow(flow_id)


def _is_half_injected(flow_detail: models.FlowDetail) -> bool:
    """Whether TaskFlow is about to record a flow's parameters: it makes their atom first, and then says what they are.

    A flow whose record ends between the two cannot be loaded any more, so they are committed as one.
    """
    return any(atom.name == Storage.injector_name and atom.results is None for atom in flow_detail)


def _delete_all(connection: sa.Connection) -> None:
    for table in (atomdetails, flowdetails, logbooks):
        connection.execute(table.delete())


@contextlib.contextmanager
def _failures(message: str) -> Iterator[None]:
    """TaskFlow's words for what went wrong.

    StorageFailure makes TaskFlow try again, three times and 5 s apart; it is used only where that could help.
    """
    try:
        yield
    except (LeaseLost, NotStorable):
        raise
    except IntegrityError as error:
        raise exc.NotFound(f"{message}: what it belongs to was destroyed") from error
    except (SQLAlchemyError, JobrunnerError) as error:
        raise exc.StorageFailure(f"{message}: {error}") from error
