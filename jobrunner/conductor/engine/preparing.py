"""How a flow that was built is made ready to run, for the first time or again.

It is compiled, gets the parameters, and is compared with what was begun; TaskFlow then makes records of its atoms and
checks that every one gets what it needs. Nothing waits for the database here.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from taskflow import states
from taskflow.persistence import models
from taskflow.storage import Storage

from jobrunner.conductor.engine.shape import Shape, shape_of
from jobrunner.model import JOB_ID, Job, Json
from jobrunner.persistence.flows import META_KEY

if TYPE_CHECKING:
    from jobrunner.conductor.engine.engine import JobEngine
    from jobrunner.plugins.registry import JobType


def prepare(
    engine: JobEngine, detail: models.FlowDetail, job: Job, job_type: JobType, *, fresh: bool
) -> Shape:
    """Make a job's flow ready; its shape.

    Raises InvalidFlow if it was begun with other code, unless the job is adopted, and what TaskFlow raises for a flow
    that cannot run.

    :param fresh: whether nobody began it before
    """
    _give_parameters(detail, job, job_type)
    engine.compile()
    shape = shape_of(engine)
    known = detail.meta.get(META_KEY)
    if known is None:
        meta = {META_KEY: shape.to_meta(), **_factory_meta(job, job_type)}
        if fresh and shape.order:
            detail.meta.update(meta)  # to be recorded together with the atoms
        else:
            engine.storage.update_flow_metadata(meta)
    elif not job.adopted:
        shape.require_same(known)
    engine.prepare()
    engine.mend()
    engine.validate()
    return shape


def _give_parameters(detail: models.FlowDetail, job: Job, job_type: JobType) -> None:
    """Put the parameters where TaskFlow looks for them, to be recorded as a whole.

    TaskFlow's own way takes two records, and who dies between them leaves a flow that it cannot load.
    """
    if not any(atom.name == Storage.injector_name for atom in detail):
        given = models.TaskDetail(Storage.injector_name, str(uuid.uuid4()))
        given.put(states.SUCCESS, {JOB_ID: job.id, **job_type.store(job.parameters)})
        detail.add(given)


def _factory_meta(job: Job, job_type: JobType) -> dict[str, Json]:
    """TaskFlow's own note of how to make the flow, so that TaskFlow alone can go on with it."""
    if job.factory is not None:
        reference = dict(job.factory)
        reference["name"] = str(reference["name"]).replace(":", ".")
        return {"factory": reference}
    factory = job_type.factory
    name = f"{getattr(factory, '__module__', '')}.{getattr(factory, '__qualname__', '')}"
    return {"factory": {"name": name, "args": [], "kwargs": dict(job.parameters)}}
