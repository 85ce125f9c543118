"""How findings are printed, and what the command returns for them."""

from __future__ import annotations

import pytest

from jobrunner.cli.doctor import exit_code, finding_lines, print_findings, summary
from jobrunner.jobs.health import Finding, Health


def finding(health: Health, *, away: bool = False, area: str = "store", detail: str | None = None) -> Finding:
    hint = None if health is Health.OK else "Do this."
    return Finding(area=area, health=health, what="What is.", hint=hint, detail=detail, away=away)


OK, WARNING, ERROR = (finding(health) for health in Health)


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([OK], 0),
        ([OK, WARNING], 0),
        ([OK, WARNING, ERROR], 1),
        ([ERROR, finding(Health.ERROR, away=True)], 75),
    ],
)
def test_exit_code(findings: list[Finding], code: int) -> None:
    assert exit_code(findings) == code


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        ([OK, OK], "All is well."),
        ([WARNING], "1 warning."),
        ([ERROR, ERROR, WARNING], "2 errors and 1 warning."),
    ],
)
def test_summary(findings: list[Finding], words: str) -> None:
    assert summary(findings) == words


def test_what_to_do_stands_below_what_is_wrong() -> None:
    lines = list(finding_lines(finding(Health.ERROR, detail="Traceback:\n  line")))
    assert [line.strip(" ✘x→>") for line in lines] == ["What is.", "| Traceback:", "|   line", "Do this."]


def test_areas_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([OK, OK, finding(Health.OK, area="board")])
    out = capsys.readouterr().out
    assert out.count("store\n") == 1
    assert out.count("board\n") == 1


def test_nothing_that_was_found_acts_on_the_terminal() -> None:
    (line,) = finding_lines(Finding(area="store", health=Health.OK, what="a\x1b]0;title\x07b"))
    assert "\x1b]" not in line
    assert "\x07" not in line
