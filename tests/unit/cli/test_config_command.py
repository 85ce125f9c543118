"""Printing the configuration: complete, readable again, and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobrunner.cli.config import Entry, entries_of, toml_lines
from jobrunner.config import Config, load_config


def entries(**environ: str) -> dict[str, Entry]:
    return {entry.key: entry for entry in entries_of(load_config(environ=environ))}


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_every_key_is_there_with_a_description() -> None:
    found = entries()
    keys = {f"{section}.{key}" for section, content in Config() for key in type(content).model_fields}
    assert set(found) == keys
    assert all(entry.description for entry in found.values())
    assert {entry.origin for entry in found.values()} == {"default"}


def test_origin_is_told() -> None:
    found = entries(JOBRUNNER_CONDUCTOR__LEASE="3")
    assert (found["conductor.lease"].value, found["conductor.lease"].origin) == (
        3.0,
        "JOBRUNNER_CONDUCTOR__LEASE",
    )


def test_password_of_its_own_is_hidden() -> None:
    lines = "\n".join(
        toml_lines(
            list(entries(JOBRUNNER_BOARD__URL="redis://h", JOBRUNNER_BOARD__PASSWORD="secret").values())
        )
    )
    assert "secret" not in lines
    assert 'password = "***"' in lines


def test_what_is_printed_can_be_read_again(tmp_path: Path) -> None:
    environ = {
        "JOBRUNNER_BOARD__URL": "redis://host/3",
        "JOBRUNNER_CONDUCTOR__LEASE": "2.5",
        "JOBRUNNER_FLOWS__PATHS": '/a "b":/c\\d',
    }
    before = load_config(environ=environ)
    file = tmp_path / "printed.toml"
    file.write_text("\n".join(toml_lines(list(entries_of(before)))))
    assert load_config(file, environ={}).config == before.config
