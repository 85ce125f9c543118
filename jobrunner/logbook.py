"""Looking up a job's flow as TaskFlow has it, for plugins that work with TaskFlow's own records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobrunner.errors import JobNotFound

if TYPE_CHECKING:
    from taskflow.persistence.models import FlowDetail

    from jobrunner.jobs.context import JobContext


def get_flow_details_by_uuid(job_uuid: str) -> FlowDetail:
    """The flow detail of a job's present attempt, read through TaskFlow's own persistence.

    ``job_uuid`` is the id of a job, or of a flow detail. Raises JobNotFound if there is neither, or if the job's flow
    has not started yet.
    """
    from jobrunner.assemble import make_context
    from jobrunner.config import load_config

    context = make_context(load_config().config)
    try:
        logbook_id, flow_id = _find(context, str(job_uuid).strip().lower())
        return _load(context, logbook_id, flow_id)
    finally:
        context.close()


def _find(context: JobContext, uuid: str) -> tuple[str, str]:
    """The ids of the logbook and of the flow detail."""
    import sqlalchemy as sa

    from jobrunner.persistence.tables import flowdetails

    try:
        wanted = context.store.get(uuid).flow_id
    except JobNotFound:
        wanted = uuid
    query = sa.select(flowdetails.c.parent_uuid).where(flowdetails.c.uuid == wanted)
    with context.database.read() as connection:
        logbook_id = connection.execute(query).scalar()
    if logbook_id is not None:
        return str(logbook_id), wanted
    if wanted != uuid:
        raise JobNotFound(
            f"The flow of job {uuid} has not started yet.", hint=f"Wait for it: jobrunner wait {uuid}"
        )
    raise JobNotFound(
        f"There is neither a job nor a flow detail {uuid}.", hint="`jobrunner list` shows the jobs there are."
    )


def _load(context: JobContext, logbook_id: str, flow_id: str) -> FlowDetail:
    import contextlib

    from taskflow.persistence import backends

    url = context.database.url
    connection_string = url.render_as_string(hide_password=False)
    with (
        contextlib.closing(backends.fetch({"connection": connection_string})) as backend,
        contextlib.closing(backend.get_connection()) as connection,
    ):
        found = connection.get_logbook(logbook_id).find(flow_id)
    if found is None:
        raise JobNotFound(
            f"The flow detail {flow_id} is gone.", hint="Somebody deleted it while it was read."
        )
    return found
