from __future__ import annotations

import io
import re

import pytest

from jobrunner.cli import output
from jobrunner.cli.output import Cell, Column

COLUMNS = (Column(title="NAME"), Column(title="SIZE", right=True), Column(title="ABOUT", grow=True))


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stdout a terminal, for the rest of the test."""
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", "40")
    return stream


def test_a_table_without_a_terminal_is_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.print_table(COLUMNS, [["日本", "1", long], ["b\x1b[2J", Cell("10", "red"), ""]])
    assert capsys.readouterr().out.splitlines() == [
        "NAME      SIZE  ABOUT",
        f"日本         1  {long}",
        "b\\x1b[2J    10",
    ]


def test_a_table_on_a_terminal_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    output.print_table(COLUMNS, [["[bold]a", Cell("1", "red"), "x" * 300]])
    printed = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert all(len(line) <= 40 for line in printed.splitlines())
    assert printed.endswith("x…\n")  # what was cut off is marked
    assert "[bold]a" in printed  # nobody's markup is obeyed
    assert "\x1b[31m" in stream.getvalue()


@pytest.mark.parametrize("way", ["table", "line"])
def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    stream = terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    if way == "table":
        output.print_table(COLUMNS, [["a", Cell("1", "red"), ""]])
    else:
        print(output.styled("a", "bold red"))
    assert "\x1b[31m" not in stream.getvalue()
    assert "\x1b[1;31m" not in stream.getvalue()
    assert "a" in stream.getvalue()


def test_no_words_in_a_style_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.styled("a", "bold red") == "\x1b[1;31ma\x1b[0m"
    assert output.styled("", "bold red") == ""


def test_lines_are_coloured_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)
    assert output.styled("a", "green") == "\x1b[32ma\x1b[0m"
    assert output.styled("a", "green", io.StringIO()) == "a"
