"""The directory of the demo: what is in it, and how fast it is read."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from jobrunner.cli.demo.source import ATOM_S, find_source, own_tree
from jobrunner.errors import UsageError


def test_default_is_the_project_itself() -> None:
    assert find_source(None).path == own_tree()
    assert (own_tree() / "setup.py").is_file()


@pytest.mark.parametrize("sizes", [[0], [1, 511, 512, 513], [200_000] * 7])
def test_archive_is_about_as_large_as_foretold(tmp_path: Path, sizes: list[int]) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number, size in enumerate(sizes):
        (tree / f"file{number}").write_bytes(b"x" * size)
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tree, "tree")
    source = find_source(str(tree))
    assert source.archive_bytes == pytest.approx(archive.stat().st_size, rel=0.1, abs=10_240)
    assert source.archive_bytes / source.rate == pytest.approx(ATOM_S, rel=0.01)


def test_what_is_left_out_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    before = find_source(str(tmp_path)).archive_bytes
    for name in (".git", ".venv", "thing.egg-info"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "large").write_bytes(bytes(1_000_000))
    assert find_source(str(tmp_path)).archive_bytes == before


def test_nothing_to_back_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no files"):
        find_source(str(tmp_path))
    with pytest.raises(UsageError, match="is not a directory"):
        find_source(str(tmp_path / "nowhere"))
