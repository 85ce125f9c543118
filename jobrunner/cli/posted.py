"""After a posting: its id, and its way to its end for those who wait."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from jobrunner.cli import output, text
from jobrunner.cli.following import Follower
from jobrunner.cli.logs import TextWriter
from jobrunner.cli.records import job_record
from jobrunner.cli.states import atom_look
from jobrunner.cli.waiting import end_in_words, is_skipped, tell_ends, wait_for
from jobrunner.errors import EXIT_JOB_FAILED, EXIT_OK
from jobrunner.jobs.context import JobContext
from jobrunner.jobs.jobsets import PostedSet
from jobrunner.jobs.post import Posted
from jobrunner.model import AtomRecord, Job, JobState
from jobrunner.persistence.nodes import Away


def announce(context: JobContext, posted: Sequence[Posted], args: argparse.Namespace) -> None:
    """The ids, alone on stdout; what else there is to know goes to stderr."""
    for one in posted:
        if not one.new:
            output.say(_why_not_new(context, one, args))
        if one.state is not None and one.state.is_terminal:
            output.say(end_in_words(context.store.get(one.job_id)))
        if not args.json:
            print(one.job_id, flush=True)
    if args.json and not (args.wait or args.follow):
        _print_records(context, posted)


def _why_not_new(context: JobContext, one: Posted, args: argparse.Namespace) -> str:
    job = context.store.get(one.job_id)
    if args.key is not None and job.idempotency_key == args.key:
        return f"the key {args.key!r} was used before: this is the job of then, nothing new was posted."
    return (
        f"jobs of type {text.clean(job.type)} are unique, and one like this is open: this is that one, "
        "nothing new was posted."
    )


def follow_all(context: JobContext, posted: Sequence[Posted], args: argparse.Namespace) -> int:
    """Wait for the jobs' ends, with their output if that is asked for; the exit code."""
    if args.follow:
        jobs = [_follow(context, one.job_id) for one in posted]
    else:
        jobs = wait_for(context, [one.job_id for one in posted])
    if args.json:
        _print_records(context, posted)
    return tell_ends(jobs)


def finish_set(
    context: JobContext,
    made: PostedSet,
    args: argparse.Namespace,
    *,
    left_out: Mapping[str, Away] | None = None,
) -> int:
    """Print the ids of a jobset's jobs on stdout, say which set it is, and wait if that is asked for; the exit code.

    :param left_out: nodes that get no job; for ``--json``
    """
    if not args.json:
        for one in made.posted:
            print(one.job_id, flush=True)
    if made.id is not None:
        output.say(f"jobset {made.id[:8]} {_new_or_not(made)}.")
    try:
        code = _wait_for_set(context, made, args) if args.wait or args.follow else EXIT_OK
    except KeyboardInterrupt:
        output.say("interrupted, but the jobs are posted and go on.")
        raise
    if args.json:
        jobs = [job_record(context.store.get(one.job_id)) | {"new": one.new} for one in made.posted]
        away = [{"node": name, "why": str(why)} for name, why in (left_out or {}).items()]
        said = {"jobset": made.id, "new": made.new, "jobs": jobs}
        output.print_json(said | ({"left_out": away} if left_out is not None else {}))
    return code


def _new_or_not(made: PostedSet) -> str:
    new = sum(one.new for one in made.posted)
    known = len(made.posted) - new
    if not made.new:
        return f"({known:,} jobs) was posted before, by the same keys; nothing new was posted"
    jobs = f"{new:,} {'job' if new == 1 else 'jobs'}"
    return f"({jobs}) is new" + (f"; {known:,} more were posted before, by their keys" if known else "")


def _wait_for_set(context: JobContext, made: PostedSet, args: argparse.Namespace) -> int:
    """Skipped jobs are not counted against a set: others ended as its links foresee."""
    if args.follow:
        for one in made.posted:
            _follow(context, one.job_id)
    ended = wait_for(context, [one.job_id for one in made.posted])
    bad = [job for job in ended if job.state is not JobState.SUCCEEDED and not is_skipped(job)]
    for job in bad:
        output.say(end_in_words(job))
    return EXIT_JOB_FAILED if bad or all(is_skipped(job) for job in ended) else EXIT_OK


def _print_records(context: JobContext, posted: Sequence[Posted]) -> None:
    records = [
        {
            "id": one.job_id,
            "new": one.new,
            "on_board": one.on_board,
            "job": job_record(context.store.get(one.job_id)),
        }
        for one in posted
    ]
    output.print_json(records[0] if len(records) == 1 else records)


def _follow(context: JobContext, job_id: str) -> Job:
    writer = TextWriter(
        sys.stderr,
        headers=output.is_terminal(sys.stderr),
        dim=lambda words: output.styled(words, "dim", sys.stderr),
    )
    follower = Follower(
        context, job_id, on_chunk=writer.write, on_atom=lambda atom: writer.note(atom_line(atom))
    )
    job = follower.run()
    writer.end()
    return job


def atom_line(atom: AtomRecord) -> str:
    """What became of an atom, in one line."""
    look = atom_look(atom.state)
    words = f"{look.mark} {text.clean(atom.name)} {atom.state}"
    if atom.started_ms and atom.finished_ms and atom.finished_ms >= atom.started_ms:
        words += f" after {text.duration((atom.finished_ms - atom.started_ms) / 1000)}"
    elif atom.node:
        words += f" on {text.clean(atom.node)}" + (f", start {atom.starts}" if atom.starts > 1 else "")
    if atom.failure:
        words += f": {text.shorten(text.clean(atom.failure), 500)}"
    return output.styled(words, look.style, sys.stderr)
