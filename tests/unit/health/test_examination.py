"""The examination as a whole: a look that fails is a finding, and the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobrunner.assemble import make_context
from jobrunner.config import Config, LoadedConfig, load_config
from jobrunner.errors import BoardUnavailable
from jobrunner.jobs import health
from jobrunner.jobs.health.configuration import readable_secrets, unknown_variables


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[health.Subject]:
    config = Config.model_validate({"persistence": {"url": f"sqlite:///{tmp_path}/store.sqlite"}})
    context = make_context(config, need_schema=False)
    yield health.Subject(context=context, loaded=LoadedConfig(config=config))
    context.close()


def look_and_break(subject: health.Subject) -> Iterator[health.Finding]:
    yield health.Reporter("first").ok("seen")
    raise ZeroDivisionError("on purpose")


def look_at_nothing(subject: health.Subject) -> Iterator[health.Finding]:
    raise BoardUnavailable("The board is gone.", hint="Bring it back.")
    yield


def test_look_that_fails_is_a_finding_and_the_next_goes_on(
    subject: health.Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOOKS", (("first", look_and_break), ("second", look_at_nothing)))
    seen, broken, away = health.examine(subject)
    assert seen.health is health.Health.OK
    assert broken.health is health.Health.ERROR
    assert "ZeroDivisionError: on purpose" in broken.what
    assert broken.detail is not None
    assert "look_and_break" in broken.detail
    assert (away.area, away.what, away.hint, away.away) == (
        "second",
        "The board is gone.",
        "Bring it back.",
        True,
    )


def test_examination_makes_no_file(subject: health.Subject, tmp_path: Path) -> None:
    findings = list(health.examine(subject))
    assert not [finding for finding in findings if finding.health is health.Health.ERROR]
    assert any("made at its first use" in finding.what for finding in findings)
    assert list(tmp_path.iterdir()) == []


def test_variable_of_an_unknown_section_is_told() -> None:
    (finding,) = unknown_variables(
        {"JOBRUNNER_BORD__URL": "x", "JOBRUNNER_BOARD__URL": "y", "JOBRUNNER_CONFIG": "z"}
    )
    assert "JOBRUNNER_BORD__URL" in finding.what
    assert finding.hint is not None
    assert "board" in finding.hint


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ('[board]\nurl = "redis://:secret@host/0"', 0o644, True),
        ('[board]\nurl = "redis://host/0"\npassword = "secret"', 0o644, True),
        ('[board]\nurl = "redis://:secret@host/0"', 0o640, False),
        ('[board]\nurl = "redis://host/0"', 0o644, False),
    ],
)
def test_password_in_a_file_that_everybody_can_read_is_told(
    tmp_path: Path, content: str, mode: int, told: bool
) -> None:
    file = tmp_path / "jobrunner.toml"
    file.write_text(content)
    file.chmod(mode)
    findings = list(readable_secrets(load_config(file, environ={}), file))
    assert bool(findings) is told
    assert "secret" not in "".join(f"{finding.what} {finding.hint}" for finding in findings)
