"""Printing the configuration: complete, readable again, and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobrunner.cli.config import Entry, entries_of, toml_lines
from jobrunner.config import Config, load_config
from jobrunner.errors import ConfigError


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


def fault(*, path: Path | None = None, flags: dict[str, object] | None = None, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, flags=flags, environ=environ)
    return caught.value.message


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("conductor.lease", 0, "conductor.lease: it has to be 0.5 or more (from --lease)."),
        ("conductor.labels", ["a b"], "(from --label)."),
        ("board.url", "host", "board.url is not a URL"),
    ],
)
def test_a_fault_of_an_option_names_it_as_it_is_written(key: str, value: object, words: str) -> None:
    assert words in fault(flags={key: value})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("PROCESSES", "many", "it has to be a whole number"),
        ("PROCESSES", "1000", "it has to be 256 or less"),
        ("LEASE", "soon", "it has to be a number"),
        ("CPU_AFFINITY", "perhaps", "it has to be true or false"),
        ("NAME", "a b", "it has to fit the pattern"),
    ],
)
def test_values_are_refused_in_plain_words(key: str, value: str, words: str) -> None:
    assert words in fault(**{f"JOBRUNNER_CONDUCTOR__{key}": value})


def test_an_unknown_section_is_told_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_text('[borad]\nurl = "x"\n')
    assert fault(path=file) == f"borad: there is no such key; did you mean board? (from {file})."


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///:memory:?x=1"])
def test_a_database_in_memory_is_refused_for_it_would_lose_every_job(url: str) -> None:
    assert "in memory" in fault(JOBRUNNER_PERSISTENCE__URL=url)


def test_a_configuration_is_read_from_what_is_no_file() -> None:
    """Such as a pipe: ``--config <(sops -d jobrunner.toml)``."""
    assert load_config("/dev/null", environ={}).config == Config()


def test_a_secret_that_is_no_text_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"hunter2\xff")
    message = fault(JOBRUNNER_BOARD__PASSWORD_FILE=str(file))
    assert f"board.password_file: {file} is not text in UTF-8" in message
    assert "hunter2" not in message
