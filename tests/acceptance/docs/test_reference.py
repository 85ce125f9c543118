"""The reference says what the code does: every command and option, key, state, error and limit."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jobrunner
from jobrunner import errors
from jobrunner.cli.main import COMMANDS, build_parser
from jobrunner.cli.options import COMMON
from jobrunner.cli.states import ATOMS
from jobrunner.config import Config, load_config
from jobrunner.model import TERMINAL_STATES, JobState
from jobrunner.persistence import encoding
from jobrunner.persistence.journal import rows
from jobrunner.persistence.ownership import beginning
from jobrunner.plugins import json_limits
from jobrunner.plugins.builtin_capabilities import ALL as CAPABILITIES
from tests.support.command_line import CommandLine
from tests.support.markdown import PAGES, ROOT, blocks, page, sections, tables

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CODE = re.compile(r"`([^`]+)`")
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
SHARED = {name for names, _ in COMMON for name in names} | {"-h", "--help"}


def parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {
        name: choice
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, choice in action.choices.items()
    }


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    nested = [option for child in parsers(parser).values() for option in options_of(child)]
    return ({*parser._option_string_actions, *nested}) - SHARED


# Commands


def test_all_commands_are_listed_in_their_order() -> None:
    (listed, *_) = tables(page("reference/commands.md").read_text(encoding="utf-8"))
    names = [match[1] for row in listed[1:] if (match := re.match(r"\[`(\w+)`\]", row[0]))]
    assert names == [name for name, _, _ in COMMANDS]


@pytest.mark.parametrize("command", [name for name, _, _ in COMMANDS])
def test_every_option_of_a_command_is_explained_and_no_other(command: str) -> None:
    section = sections(page("reference/commands.md"), 2)[command]
    explained = {
        option
        for table in tables(section)
        for row in table
        for option in OPTION.findall(row[0].split("=")[0])
    }
    assert explained == options_of(parsers(build_parser())[command])


def test_common_options_are_explained() -> None:
    (table,) = tables(sections(page("reference/commands.md"), 2)["For all commands"])
    assert {option for row in table for option in OPTION.findall(row[0])} == SHARED


# Configuration


def key_rows(section: str) -> dict[str, list[str]]:
    found = tables(sections(page("reference/configuration.md"), 2)[f"[{section}]"])
    table = next(table for table in found if table[0][0] == "key")
    return {row[0].strip("`"): row for row in table[1:]}


@pytest.mark.parametrize("section", list(Config.model_fields))
def test_every_key_has_its_default_and_its_variable(section: str) -> None:
    fields = type(getattr(Config(), section)).model_fields
    rows_by_key = key_rows(section)
    assert list(rows_by_key) == list(fields)
    for key, (_, default, variable, meaning) in rows_by_key.items():
        assert variable == f"`JOBRUNNER_{section.upper()}__{key.upper()}`"
        assert meaning
        code = CODE.fullmatch(default)
        told = tomllib.loads(f"value = {code[1]}")["value"] if code else None
        expected = fields[key].default
        assert told == (list(expected) if isinstance(expected, tuple) else expected), key


def test_the_complete_file_has_every_key() -> None:
    (block,) = [
        block for block in blocks(page("reference/configuration.md"), "toml") if "[output]" in block.text
    ]
    content = tomllib.loads(block.text)
    assert list(content) == list(Config.model_fields)
    for section in content:
        keys = {key.removesuffix("_file") for key in content[section]}
        assert keys == set(type(getattr(Config(), section)).model_fields)


TOML = [block for path in PAGES for block in blocks(path, "toml")]


@pytest.mark.parametrize("block", TOML, ids=lambda block: block.where)
def test_configuration_files_can_be_loaded(block, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    content = block.text.replace("/etc/jobrunner/", f"{tmp_path}/")
    for name in re.findall(r'_file = "([^"]+)"', content):
        Path(name).write_text("secret\n", encoding="utf-8")
    file = tmp_path / "jobrunner.toml"
    file.write_text(content, encoding="utf-8")
    config = load_config(file, environ={}).config
    assert config.store_url.partition("@")[0].endswith(":secret")


def test_variables_in_all_pages_exist() -> None:
    known = {
        f"JOBRUNNER_{section}__{key}".upper()
        for section in Config.model_fields
        for key in type(getattr(Config(), section)).model_fields
    } | {"JOBRUNNER_SECTION__KEY"}
    named = {
        name for path in PAGES for name in re.findall(r"JOBRUNNER_[A-Z]+__[A-Z_]+", path.read_text("utf-8"))
    }
    assert {name.removesuffix("_FILE") for name in named} <= known


# Python


def test_what_programs_import_is_there() -> None:
    found = sections(page("reference/python.md"), 2)
    ((_, *for_plugins),) = tables(found["In plugins"])
    told = {name for row in for_plugins for name in CODE.findall(row[0])}
    assert told == set(jobrunner.__all__) - {"__version__"}
    ((_, *for_programs),) = tables(found["What programs import"])
    for module, names in for_programs:
        home = importlib.import_module(module.strip("`"))
        assert [name for name in CODE.findall(names) if not hasattr(home, name)] == [], module


@pytest.mark.thorough
def test_the_types_of_a_program_are_checked(tmp_path: Path) -> None:
    (program,) = blocks(page("reference/python.md"), "python")
    file = tmp_path / "program.py"
    file.write_text(program.text, encoding="utf-8")
    checking = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--config-file=",
        str(file),
    ]
    # An editable installation is found by a hook of the interpreter's, which mypy does not ask.
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(checking, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# States, errors


def test_states_are_those_of_the_model() -> None:
    (states, transitions, atoms) = tables(page("reference/states.md").read_text(encoding="utf-8"))
    named = [JobState(row[0].strip("`")) for row in states[1:]]
    assert named == list(JobState)
    assert set(named[-7:]) == TERMINAL_STATES
    assert {JobState(name) for row in transitions[1:] for name in CODE.findall(row[0])} < set(JobState)
    assert {name for row in transitions[1:] for name in CODE.findall(row[1])} == {
        state.value for state in JobState
    }
    assert {name for row in atoms[1:] for name in CODE.findall(row[0])} <= set(ATOMS)


def test_every_error_is_explained_with_its_exit_code() -> None:
    (_, explained, _) = tables(page("reference/errors.md").read_text(encoding="utf-8"))
    defined = {
        name: str(value.exit_code)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.JobrunnerError)
    }
    del defined["JobrunnerError"]
    assert {row[0].strip("`"): row[1] for row in explained[1:]} == defined


def test_exit_codes_are_all_there() -> None:
    (codes, *_) = tables(page("reference/errors.md").read_text(encoding="utf-8"))
    defined = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in codes[1:]} == defined


# Limits, builtin things


def test_limits_are_those_of_the_code() -> None:
    section = sections(page("howto/write-flows.md"), 2)["Limits"]
    (table,) = tables(section)
    told = {row[0]: row[1] for row in table[1:]}
    mib = 1024 * 1024
    parameters = f"{json_limits.MAX_BYTES // 1024} KiB of JSON, {json_limits.MAX_DEPTH} levels deep"
    assert told["a job's parameters together"].startswith(parameters)
    assert told["a task's result"] == f"{encoding.RESULT_LIMIT_BYTES / mib:g} MiB of JSON"
    assert told["what a `revert` returns"] == f"{rows.REVERT_LIMIT_BYTES:,} bytes"
    assert told["a job's output"].startswith(f"{Config().output.limit_bytes // mib} MiB")
    assert told["results shown with the job itself"].startswith(f"{encoding.BRIEF_LIMIT_BYTES // 1024} KiB")
    assert beginning.MAX_DEATHS == 5
    assert "five\ntimes" in section or "five times" in section


def test_builtin_capabilities_are_those_that_there_are() -> None:
    (table,) = tables(sections(page("howto/capabilities.md"), 2)["Builtin ones"])
    named = {CODE.findall(row[0])[0].partition(":")[0] for row in table[1:]}
    assert named == {predicate.__name__ for predicate in CAPABILITIES}


def test_builtin_jobs_and_their_parameters_are_those_that_there_are(jobrunner: CommandLine) -> None:
    types = {one["name"]: one["schema"] for one in jobrunner("types", "--json").json}
    found = sections(page("howto/builtin-jobs.md"), 2)
    assert set(found) == set(types)
    for name, schema in types.items():
        (table,) = tables(found[name])
        assert [row[0].strip("`") for row in table[1:]] == list(schema["properties"])
        required = {row[0].strip("`") for row in table[1:] if row[1] == "required"}
        assert required == set(schema["required"])
        for row in table[1:]:
            if re.fullmatch(r"\d+", row[1]):
                default = schema["properties"][row[0].strip("`")]["default"]
                assert default in (int(row[1]), [int(row[1])])
