from __future__ import annotations

import argparse
import errno
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobrunner.cli import main, options, output
from jobrunner.errors import JobNotFound, JobrunnerError, StoreUnavailable

HEAVY = ("sqlalchemy", "pydantic", "rich", "taskflow", "redis", "alembic", "stevedore", "psutil", "shtab")


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices)


def leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    nested = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return [leaf for action in nested for child in action.choices.values() for leaf in leaves(child)] or [
        parser
    ]


def act(monkeypatch: pytest.MonkeyPatch, run: object) -> None:
    """Let ``jobrunner nodes`` do something else."""
    real = main.command_module

    def module(name: str) -> object:
        return SimpleNamespace(add_parser=real(name).add_parser, run=run) if name == "nodes" else real(name)

    monkeypatch.setattr(main, "command_module", module)


def raising(error: BaseException) -> object:
    def run(args: argparse.Namespace) -> int:
        raise error

    return run


def test_every_command_has_a_parser_help_and_the_common_options() -> None:
    parser = main.build_parser()
    assert list(commands(parser)) == [name for name, _, _ in main.COMMANDS]
    for leaf in leaves(parser):
        known = leaf._option_string_actions
        assert {"--config", "--board-url", "--persistence-url", "-v", "--verbose", "--help"} <= set(known), (
            leaf.prog
        )
        assert leaf.description, leaf.prog
        assert leaf.format_help()


def test_a_command_makes_no_other_commands_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = main.command_module
    monkeypatch.setattr(main, "command_module", lambda name: made.append(name) or real(name))
    assert list(commands(main.build_parser("nodes"))) == ["nodes"] == made
    for other in ("nods", "--config", None):
        assert len(commands(main.build_parser(other))) == len(main.COMMANDS)


def test_the_parsers_need_the_standard_library_only() -> None:
    program = (
        "import sys\n"
        f"for name in {HEAVY}: sys.modules[name] = None\n"
        "from jobrunner.cli.main import build_parser\n"
        "build_parser().format_help()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_option_before_its_command_is_told_where_to_stand(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.entry(["--json", "list"]) == 2
    assert "--json is an option of this command, and has to stand behind it: jobrunner list --json" in (
        capsys.readouterr().err
    )


def test_common_options_stand_before_or_after_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []
    act(monkeypatch, lambda args: seen.append(args) or 0)
    main.entry(["--config", "a", "nodes"])
    main.entry(["nodes", "--config", "b", "--board-url", "c"])
    main.entry(["nodes"])
    assert [(args.config, args.board_url) for args in seen] == [("a", None), ("b", "c"), (None, None)]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (JobNotFound("There is no job.", hint="Look."), 3, "jobrunner: There is no job.\n  Look.\n"),
        (StoreUnavailable("Away."), 75, "jobrunner: Away.\n"),
        (JobrunnerError("a\x1b[2Jb"), 1, "jobrunner: a\\x1b[2Jb\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            ValueError("oh"),
            1,
            "jobrunner: an internal error: ValueError: oh\n  (run with -v for the traceback)\n",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            1,
            "jobrunner: Too many open files. Raise the limit (ulimit -n, or LimitNOFILE= in the service).\n",
        ),
        (SystemExit(7), 7, ""),
    ],
)
def test_errors_become_messages_and_exit_codes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    act(monkeypatch, raising(error))
    assert main.entry(["nodes"]) == code
    assert capsys.readouterr() == ("", message)


def test_verbose_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    act(monkeypatch, raising(ValueError("oh")))
    assert main.entry(["nodes", "-v"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "(run with -v" not in err


def test_without_a_command_help_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.entry([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: jobrunner" in err


def test_an_unknown_option_is_told_by_the_command_that_it_was_given_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main.entry(["nodes", "--jsn"]) == 2
    assert "jobrunner nodes: there is no option --jsn; did you mean --json?" in capsys.readouterr().err
    assert main.entry(["db", "upgrade", "--jsn"]) == 2
    assert "jobrunner db upgrade: there is no option --jsn; did you mean --json?" in capsys.readouterr().err
    assert main.entry(["noodes"]) == 2
    assert "there is no command 'noodes'; did you mean nodes?" in capsys.readouterr().err


def test_the_namespace_has_all_common_options_when_none_is_given() -> None:
    parser = options.Parser()
    options.add_common(parser)
    dests = {action.dest for action in parser._actions} - {"help"}
    assert dests == set(vars(options.empty_namespace()))


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    """What a shell runs with ``$python`` for this interpreter."""
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "python": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_directory_that_was_removed_is_told_in_plain_words() -> None:
    done = in_shell('d=$(mktemp -d); cd "$d"; rmdir "$d"; $python -m jobrunner types')
    assert done.returncode == 2
    assert "the directory in which this was started does not exist any more" in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    done = in_shell(f"$python -m jobrunner --version {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def broken_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("make", [broken_pipe, lambda: os.open("/dev/full", os.O_WRONLY)])
@pytest.mark.parametrize(
    ("words", "code"), [("status nothing", 3), ("config path", 3), ("post --file none", 2)]
)
def test_that_nobody_can_read_the_messages_changes_no_exit_code(
    make: Callable[[], int], words: str, code: int, tmp_path: Path
) -> None:
    stderr = make()
    try:
        command = [sys.executable, "-m", "jobrunner", *words.split()]
        home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        done = subprocess.run(command, stderr=stderr, env={**os.environ, **home}, cwd=tmp_path)
    finally:
        os.close(stderr)
    assert done.returncode == code


def test_messages_never_go_to_stdout_because_stderr_is_closed() -> None:
    done = in_shell("$python -m jobrunner nope 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


def test_nothing_that_is_opened_takes_the_place_of_a_closed_stream() -> None:
    """Else what somebody prints would go to the database's socket."""
    program = "import os; from jobrunner.cli import main; main._open_streams(); print(os.open('/', 0) > 2)"
    assert in_shell(f'$python -c "{program}" <&- 2>&-').stdout == "True\n"


@pytest.mark.parametrize("words", ["--version", "--help", "list --help"])
@pytest.mark.parametrize("buffered", ["", "PYTHONUNBUFFERED=1"])
def test_output_for_which_there_is_no_room_is_told_in_plain_words(words: str, buffered: str) -> None:
    done = in_shell(f"{buffered} $python -m jobrunner {words} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "jobrunner: there is no room for what is to be written: No space left on device\n"


def test_a_console_leaves_it_to_the_command_line_that_nobody_reads_on() -> None:
    with pytest.raises(BrokenPipeError):
        output.console().on_broken_pipe()


def test_an_argument_that_is_no_text_is_told_in_plain_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    url = os.fsdecode(b"mysql+pymysql://me:secret\xff@127.0.0.1:1/store")
    assert main.entry(["nodes", "--persistence-url", url]) == 2
    said = "jobrunner: a URL that is given is not text in UTF-8, which is all that the database holds.\n"
    assert capsys.readouterr() == ("", said)


def test_so_is_one_that_a_command_tries_to_store(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "_run", lambda *_: "b\udcffx".encode())
    assert main.entry(["node", "drain", os.fsdecode(b"b\xffx")]) == 2
    said = "jobrunner: 'b\\udcffx' is not text in UTF-8, which is all that the database holds.\n"
    assert capsys.readouterr() == ("", said)


HOMELESS = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "JOBRUNNER_CONFIG")


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom nobody knows, as in a container."""
    monkeypatch.chdir(tmp_path)
    for name in HOMELESS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_has_to_say_only_where_the_database_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.entry(["types"]) == 0
    assert main.entry(["list"]) == 2
    assert "no home directory in which the database could be" in capsys.readouterr().err
    monkeypatch.setenv("JOBRUNNER_PERSISTENCE__URL", "sqlite:///here")
    assert main.entry(["list"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("types --config ~nobodyatall/x", "The configuration file ~nobodyatall/x does not exist."),
        (f"types --config {'x' * 5000}", "cannot be read: File name too long."),
        ("post --file ~nobodyatall/x", "~nobodyatall/x cannot be read: No such file or directory."),
        (f"new a/b --directory {'x' * 5000}", "cannot be written: File name too long."),
        ("demo ~nobodyatall/x", "~nobodyatall/x is not a directory."),
    ],
)
def test_a_path_that_leads_nowhere_is_told_in_plain_words(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.entry(words.split()) == 2
    assert said.rstrip(".") in capsys.readouterr().err


def test_a_home_that_may_not_be_read_has_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "x" * 5000)  # stands for one that root may not read, either
    monkeypatch.delenv("JOBRUNNER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main.entry(["config", "path"]) == 3
