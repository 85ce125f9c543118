"""How the demo ends: a table of who ran what, and what was checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from jobrunner.cli import output, states, text
from jobrunner.cli.demo.evidence import Claim, Evidence
from jobrunner.cli.demo.stage import Stage
from jobrunner.cli.demo.story import Story
from jobrunner.cli.output import Cell, Column
from jobrunner.model import AtomRecord
from jobrunner.quantities import format_size

COLUMNS = (
    Column(title="ATOM"),
    Column(title="CONDUCTOR"),
    Column(title="STARTED", right=True),
    Column(title="TOOK", right=True),
    Column(title="START", right=True),
    Column(title="OUTCOME", grow=True),
)
FINE = states.Look("✔", "+", "green")
WRONG = states.Look("✘", "x", "bold red")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One start of one atom. Times are milliseconds; ``end_ms`` of a killed one is that of the kill."""

    atom: str
    conductor: str | None
    started_ms: int | None
    end_ms: int | None
    start: int
    outcome: str


def runs_of(story: Story) -> Iterator[Run]:
    """Every start of every atom, in the order of the flow."""
    interrupted = {atom.name: atom for atom in story.interrupted}
    for atom in story.atoms:
        if atom.name in interrupted:
            yield _run(interrupted[atom.name], end_ms=story.killed_ms, outcome="killed with its conductor")
        yield _run(atom, end_ms=atom.finished_ms, outcome=atom.state)


def print_report(story: Story, evidence: Evidence, stage: Stage, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_data(story, evidence, stage))
    else:
        _print_table(story)
        _print_archive(evidence, stage)
        print()
        for claim in evidence.claims:
            _print_claim(claim)
    if stage.keep:
        output.say(
            f"{stage.directory} is kept. Look at the job: "
            f"jobrunner status {story.job.short_id} --config {stage.config_file}"
        )


def _print_table(story: Story) -> None:
    rows: list[list[Cell | str]] = []
    for run in runs_of(story):
        started = text.between(story.posted_ms, run.started_ms, story.posted_ms)
        took = text.between(run.started_ms, run.end_ms, run.started_ms or 0)
        style = "green" if run.outcome == "SUCCESS" else "bold red"
        rows.append(
            [
                run.atom,
                run.conductor or "",
                "" if started is None else f"+{started:.2f} s",
                "" if took is None else f"{took:.2f} s",
                str(run.start),
                Cell(run.outcome, style),
            ]
        )
    output.print_table(COLUMNS, rows)


def _print_archive(evidence: Evidence, stage: Stage) -> None:
    archive = evidence.archive
    if archive is None:
        return
    print()
    print(f"archive  {text.clean(archive.path)}")
    if not stage.keep:
        print("         (goes with the demo's directory; --keep keeps it)")
    print(f"size     {format_size(archive.size)}, {archive.files} files")
    print(f"sha256   {archive.sha256}")


def _print_claim(claim: Claim) -> None:
    look = FINE if claim.true else WRONG
    found = "" if claim.true else f" — {claim.found}"
    print(f"{output.styled(look.mark, look.style)} {text.clean(claim.text + found)}")


def _data(story: Story, evidence: Evidence, stage: Stage) -> dict[str, object]:
    return {
        "ok": evidence.holds,
        "job_id": story.job.id,
        "state": story.job.state.value,
        "killed": {"name": story.killed.name, "pid": story.killed.pid, "at_ms": story.killed_ms},
        "survivor": story.survivor.name,
        "lease_s": story.lease,
        "takeover_s": evidence.takeover_s,
        "epochs": [story.job_before.epoch, story.job.epoch],
        "atoms": [asdict(run) for run in runs_of(story)],
        "archive": None if evidence.archive is None else asdict(evidence.archive),
        "claims": [asdict(claim) for claim in evidence.claims],
        "directory": str(stage.directory) if stage.keep else None,
    }


def _run(atom: AtomRecord, *, end_ms: int | None, outcome: str) -> Run:
    return Run(
        atom=atom.name,
        conductor=atom.node,
        started_ms=atom.started_ms,
        end_ms=end_ms,
        start=atom.starts,
        outcome=outcome,
    )
