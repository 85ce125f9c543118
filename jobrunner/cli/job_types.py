"""``jobrunner types``: what can be posted."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jobrunner.cli import output, text
from jobrunner.cli.context import load_registry
from jobrunner.cli.isolation import limits_text
from jobrunner.cli.options import add_json
from jobrunner.cli.output import Cell, Column
from jobrunner.errors import EXIT_OK

if TYPE_CHECKING:
    from jobrunner.plugins.registry import JobType, PluginProblem, Registry

COLUMNS = (Column(title="TYPE"), Column(title="SOURCE"), Column(title="DESCRIPTION", grow=True))
PARAMETER_COLUMNS = (
    Column(title="PARAMETER"),
    Column(title="EXPECTED"),
    Column(title="DEFAULT"),
    Column(title="HELP", grow=True),
)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "types", description="List the job types that can be posted, or tell all about one of them."
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="the job type to tell about")
    add_json(parser, "print it as JSON, with the parameters' JSON schema")
    return parser


def run(args: argparse.Namespace) -> int:
    registry = load_registry(args)
    if args.name:
        job_type = registry.get_type(args.name)
        if args.json:
            output.print_json(type_record(job_type))
        else:
            print_type(job_type)
        return EXIT_OK
    types = [registry.job_types[name] for name in sorted(registry.job_types)]
    if args.json:
        output.print_json([type_record(job_type) for job_type in types])
    else:
        output.print_table(
            COLUMNS, [[one.name, Cell(one.source, "bright_black"), one.description] for one in types]
        )
    tell_problems(registry)
    return EXIT_OK


def tell_problems(registry: Registry) -> None:
    """Plugins that could not be loaded, on stderr, plainly."""
    if registry.problems:
        output.say(
            f"{_count(len(registry.problems), 'plugin has a problem', 'plugins have problems')}:\n"
            + "\n".join(problem_line(problem) for problem in registry.problems)
            + "\n  `jobrunner doctor` shows the tracebacks."
        )


def problem_line(problem: PluginProblem) -> str:
    """One problem, in one indented line."""
    return text.clean(f"  {problem.where} (from {problem.source}): {problem.message}")


def type_record(job_type: JobType) -> dict[str, Any]:
    """A job type as JSON."""
    return {
        "name": job_type.name,
        "description": job_type.description,
        "source": job_type.source,
        "defined_in": job_type.where,
        "classic": job_type.is_classic,
        "capabilities": list(job_type.capabilities),
        "timeout": job_type.timeout,
        "engine": job_type.engine,
        "max_workers": job_type.max_workers,
        "priority": None if job_type.priority is None else job_type.priority.name.lower(),
        "placement": None if job_type.policies.placement is None else job_type.policies.placement.to_json(),
        "run": None if job_type.policies.run is None else job_type.policies.run.to_json(),
        "schema": None if job_type.is_classic else job_type.parameters.json_schema(),
    }


def print_type(job_type: JobType) -> None:
    """All about one job type."""
    record = type_record(job_type)
    print(output.styled(job_type.name, "bold"))
    if job_type.description:
        print(f"  {text.clean(job_type.description)}")
    print()
    engine = job_type.engine + (f", {job_type.max_workers} atoms at once" if job_type.max_workers else "")
    facts = {
        "From": f"{job_type.source} ({job_type.where})",
        "Needs": ", ".join(job_type.capabilities),
        "Time limit": text.duration(job_type.timeout),
        "Engine": "" if job_type.is_classic else engine,
        "Priority": record["priority"] or "",
        "Prefers": _preferred(job_type),
        "Process": limits_text(job_type.policies.run),
        "Options": f"it parses its own: jobrunner post {job_type.name} --help" if job_type.is_classic else "",
    }
    for label, value in facts.items():
        if value:
            print(f"{label:<12}{text.clean(value)}")
    if not job_type.is_classic and len(job_type.parameters):
        print()
        output.print_table(
            PARAMETER_COLUMNS, [_parameter_row(parameter) for parameter in job_type.parameters]
        )


def _preferred(job_type: JobType) -> str:
    placement = job_type.policies.placement
    if placement is None or placement.prefer is None:
        return ""
    return f"node {placement.prefer}, any other after {text.duration(placement.failover)}"


def _parameter_row(parameter: Any) -> list[Cell | str]:
    default = (
        Cell("(required)", "yellow")
        if parameter.required
        else (text.brief_json(parameter.default_json, 40) or '""')
    )
    return [parameter.name, parameter.shape.expected, default, parameter.help]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
