"""Jobs, atoms, nodes and output as JSON: every field under its own name, times in milliseconds (``*_ms``)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jobrunner.model import AtomRecord, AttemptRecord, Job

if TYPE_CHECKING:
    from jobrunner.persistence.chains.jobsets import Jobset
    from jobrunner.persistence.chains.links import Link
    from jobrunner.persistence.nodes import Node
    from jobrunner.persistence.output import OutputChunk


def job_record(job: Job) -> dict[str, Any]:
    """All there is in a job's row."""
    return {
        "id": job.id,
        "seq": job.seq,
        "type": job.type,
        "state": job.state.value,
        "priority": job.priority.name.lower(),
        "parameters": dict(job.parameters),
        "factory": job.factory,
        "properties": dict(job.properties),
        "capabilities": list(job.job_class.capabilities),
        "node_pin": job.job_class.node,
        "placement": None if job.policies.placement is None else job.policies.placement.to_json(),
        "failover_ms": job.failover_ms,
        "owner": job.owner,
        "node": job.node,
        "attempt": job.attempt,
        "epoch": job.epoch,
        "deaths": job.deaths,
        "cancel": None if job.cancel is None else job.cancel.value,
        "timeout": job.timeout,
        "expires_ms": job.expires_ms,
        "policies": job.policies.to_json(),
        "usage": None if job.usage is None else dict(job.usage),
        "created_ms": job.created_ms,
        "available_ms": job.available_ms,
        "started_ms": job.started_ms,
        "finished_ms": job.finished_ms,
        "updated_ms": job.updated_ms,
        "author": job.author,
        "idempotency_key": job.idempotency_key,
        "holds": [hold.to_json() for hold in job.policies.holds],
        "unique_key": job.unique_key,
        "jobset": job.jobset_id,
        "note": job.note,
        "held": job.held,
        "parked": None if job.parked is None else job.parked.value,
        "awaits": job.awaits,
        "result": job.result,
        "error": None if job.error is None else job.error.to_json(),
    }


def attempt_record(attempt: AttemptRecord) -> dict[str, Any]:
    """How an attempt ended."""
    return asdict(attempt)


def jobset_record(jobset: Jobset) -> dict[str, Any]:
    """A jobset, and how many of its jobs are in which state."""
    return {
        "id": jobset.id,
        "name": jobset.name,
        "author": jobset.author,
        "created_ms": jobset.created_ms,
        "state": jobset.state.value,
        "size": jobset.size,
        "ended": jobset.ended,
        "skipped": jobset.skipped,
        "counts": {state.value: number for state, number in sorted(jobset.counts.items())},
    }


def link_record(link: Link) -> dict[str, Any]:
    """A job that comes before another."""
    state = None if link.state is None else link.state.value
    return {"id": link.after_id, "type": link.type, "state": state, "when": link.when.value}


def atom_record(atom: AtomRecord) -> dict[str, Any]:
    """All that is recorded of an atom."""
    return asdict(atom)


def node_record(node: Node) -> dict[str, Any]:
    """A node's last word."""
    return {
        "name": node.name,
        "identity": node.identity,
        "started_ms": node.started_ms,
        "seen_ms": node.seen_ms,
        "stopped_ms": node.stopped_ms,
        "drained": node.drained,
        "free": node.free,
        "report": dict(node.report),
    }


def chunk_record(chunk: OutputChunk) -> dict[str, Any]:
    """A piece of output."""
    return asdict(chunk)
