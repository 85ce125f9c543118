"""Fixtures of the tests that use jobrunner as a person does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine


@pytest.fixture
def jobrunner(tmp_path: Path) -> CommandLine:
    """The command line, in a directory that is empty at first."""
    home = tmp_path / "home"
    home.mkdir()
    return CommandLine(home)
