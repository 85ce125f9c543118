"""backup_directory: what a backup is, and what it is asked for."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from taskflow import engines, task

from flows.builtin.backup_directory.flow import backup_directory
from flows.builtin.backup_directory.testing import (
    ATOMS,
    Backup,
    Run,
    names_in,
    tree_of,
    unpacked,
    with_sidecars,
)


@pytest.mark.parametrize("compression", ["gz", "xz", "none"])
def test_a_backup_holds_what_the_source_held(
    run: Run, source: Path, destination: Path, tmp_path: Path, compression: str
) -> None:
    before = tree_of(source)
    result = run(compression=compression)
    archive = Path(result["archive"])
    assert tree_of(unpacked(archive, tmp_path / "unpacked")) == before
    assert names_in(destination) == with_sidecars(archive.name)
    assert archive.stat().st_size == result["size"]
    assert (result["files"], result["bytes"]) == (5, 6000 + 512_000 + 9 + 4)
    assert (result["skipped"], result["changed"], result["pruned"]) == ([], [], [])
    assert archive.stat().st_mode & 0o077 == 0


def test_the_six_atoms(source: Path) -> None:
    assert [atom.name for atom, _ in backup_directory(source).iter_nodes()] == ATOMS


def test_results_are_json_and_small(source: Path, destination: Path, tmp_path: Path) -> None:
    for number in range(300):
        (source / f"{number}.socket").symlink_to(f"target {number}")
    backup = Backup(
        tmp_path / "records", {"source": str(source), "destination": str(destination)}, str(uuid.uuid4())
    )
    result = backup.start()
    assert json.loads(json.dumps(result)) == result
    assert len(json.dumps(result)) < 2000
    assert backup.done == ATOMS


def test_the_default_destination_is_in_the_users_data_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    archive = Path(run(destination=None, name="mine")["archive"])
    assert archive.parent == tmp_path / "data" / "jobrunner" / "backups" / "mine"
    assert archive.name.startswith("mine-")


def test_a_destination_inside_the_source_is_left_out(run: Run, source: Path, tmp_path: Path) -> None:
    inside = source / "docs" / "backups"
    for count in (1, 2):
        result = run(destination=str(inside))
        assert result["files"] == 5
        assert result["excluded"] == 1
        assert len(names_in(inside)) == 2 * count


def test_a_destination_that_is_the_source_is_refused(run: Run, source: Path) -> None:
    with pytest.raises(ValueError, match="the destination is the source itself"):
        run(destination=str(source))


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_source_that_is_no_directory_is_refused(
    run: Run, source: Path, destination: Path, kind: str
) -> None:
    with pytest.raises(NotADirectoryError, match="not a directory on this machine"):
        run(source=str(source / ("nowhere" if kind == "missing" else "a.txt")))
    assert names_in(destination) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"keep": 0}, "keep: 0 is less than 1"),
        ({"name": "../evil"}, "name: '../evil' cannot be used"),
        ({"name": ".hidden"}, "cannot be used"),
        ({"max_rate": "fast"}, "'fast' is not a size"),
    ],
)
def test_wrong_parameters_are_refused_when_the_job_is_made(
    source: Path, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        backup_directory(source, **parameters)


def test_progress_names_the_files(source: Path, destination: Path) -> None:
    parameters = {"source": str(source), "destination": str(destination)}
    flow = backup_directory(source, destination)
    seen: dict[str, list[tuple[float, str]]] = {name: [] for name in ATOMS}
    for atom, _ in flow.iter_nodes():
        atom.notifier.register(
            task.EVENT_UPDATE_PROGRESS,
            lambda _, details, name=atom.name: seen[name].append(
                (details["progress"], details.get("message", ""))
            ),
        )
    engines.run(flow, store=parameters, engine="serial")
    archive = seen["archive"]
    assert any(message == "1/5 a.txt" for _, message in archive)
    for reports in seen.values():
        fractions = [fraction for fraction, _ in reports]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
