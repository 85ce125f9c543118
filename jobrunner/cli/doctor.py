"""``jobrunner doctor``: is everything as it should be here, and if not, what to do?"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from jobrunner.cli import options, output, text
from jobrunner.errors import EXIT_JOB_FAILED, EXIT_OK, EXIT_UNAVAILABLE, ConfigError

if TYPE_CHECKING:
    from jobrunner.jobs.health import Finding

DESCRIPTION = """\
Look at the configuration, the database and its settings, the job board and its server, the conductors that live, the
plugins, and this machine, and say for each what is wrong and what to do about it. Nothing is changed."""
EPILOG = "Exits with 0 if there is no error, with 75 if the board or the database is away, with 1 for other errors."

LOOKS = {"ok": ("✔", "+", "green"), "warning": ("▲", "!", "yellow"), "error": ("✘", "x", "bold red")}
INDENT = " " * 4


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "doctor", help="check configuration, servers and plugins", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print warnings and errors only")
    options.add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    findings = _gather(args)
    shown = [finding for finding in findings if not (args.quiet and finding.health.value == "ok")]
    if args.json:
        output.print_json(
            {"healthy": not _errors(findings), "findings": [finding.to_json() for finding in shown]}
        )
    else:
        print_findings(shown)
        output.say(summary(findings))
    return exit_code(findings)


def exit_code(findings: Sequence[Finding]) -> int:
    """What the command returns for what was found."""
    errors = _errors(findings)
    if any(finding.away for finding in errors):
        return EXIT_UNAVAILABLE
    return EXIT_JOB_FAILED if errors else EXIT_OK


def summary(findings: Sequence[Finding]) -> str:
    errors = len(_errors(findings))
    warnings = sum(finding.health.value == "warning" for finding in findings)
    if not errors and not warnings:
        return "All is well."
    counted = [_counted(errors, "error"), _counted(warnings, "warning")]
    return f"{' and '.join(words for words in counted if words)}."


def print_findings(findings: Iterable[Finding]) -> None:
    """One line a finding, under its area; what to do stands below it."""
    area = None
    for finding in findings:
        if finding.area != area:
            area = finding.area
            print(output.styled(area, "bold"))
        for line in finding_lines(finding):
            print(line)


def finding_lines(finding: Finding) -> Iterator[str]:
    from jobrunner.cli import states

    symbol, plain, style = LOOKS[finding.health.value]
    mark = output.styled(symbol if states.has_unicode() else plain, style)
    first, *others = text.clean_lines(finding.what).splitlines() or [""]
    yield f"  {mark} {first}"
    yield from (INDENT + line for line in others)
    for line in text.clean_lines(finding.detail or "").splitlines():
        yield INDENT + output.styled(f"| {line}", "dim")
    for number, line in enumerate(text.clean_lines(finding.hint or "").splitlines()):
        yield f"{INDENT}{'  ' if number else '→ ' if states.has_unicode() else '> '}{line}"


def _gather(args: argparse.Namespace) -> list[Finding]:
    from jobrunner.assemble import make_context
    from jobrunner.cli.context import load_config
    from jobrunner.jobs import health

    try:
        loaded = load_config(args)
        context = make_context(loaded.config, need_schema=False)
    except ConfigError as error:
        report = health.Reporter("configuration")
        return [
            report.failed(error),
            report.warning("Nothing else was looked at.", "Mend the configuration first."),
        ]
    try:
        return list(health.examine(health.Subject(context=context, loaded=loaded)))
    finally:
        context.close()


def _errors(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.health.value == "error"]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}" if number else ""
