"""Which job types are there, and what is wrong with those that are not?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from jobrunner.errors import PluginError, UnknownCapability
from jobrunner.jobs.health.finding import Finding, Reporter, Subject
from jobrunner.plugins.registry import JobType, PluginProblem, Registry

AREA = "plugins"
TRACEBACK_LINES = 6

report = Reporter(AREA)


def look(subject: Subject) -> Iterator[Finding]:
    registry = subject.context.registry
    for problem in registry.problems:
        yield problem_finding(problem)
    for job_type in registry.job_types.values():
        yield from _type(registry, job_type)
    if registry.job_types:
        yield report.ok(_summary(registry.job_types))
    else:
        yield report.error(
            "No job type was found, so nothing can be posted or run here.",
            "Plugins are looked for in ./flows, on JOBRUNNER_FLOWS and in flows.paths; start one with `jobrunner new`.",
        )


def problem_finding(problem: PluginProblem) -> Finding:
    """A plugin's problem with the end of its traceback, where the cause stands."""
    lines = (problem.traceback or "").strip().splitlines()[-TRACEBACK_LINES:]
    return report.error(
        f"{problem.where}: {problem.message}",
        f"Mend it in {problem.source}; the other plugins are not affected.",
        detail="\n".join(lines) or None,
    )


def _type(registry: Registry, job_type: JobType) -> Iterator[Finding]:
    try:
        _ = job_type.parameters
    except PluginError as error:
        yield report.error(
            f"{job_type.where}: {error.message}", error.hint or "Mend the factory's annotations."
        )
    for reference in job_type.capabilities:
        try:
            registry.get_capability(reference)
        except UnknownCapability:
            yield report.error(
                f"{job_type.where} needs the capability {reference.partition(':')[0]!r}, which is not registered: "
                f"no node can run {job_type.name}.",
                "Register it with @register_capability(), or correct its name.",
            )


def _summary(job_types: Mapping[str, JobType]) -> str:
    names = ", ".join(sorted(job_types))
    return f"{len(job_types)} job type{'s' * (len(job_types) != 1)}: {names}."
