"""Which old archives go when there is a new one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flows.builtin.backup_directory.naming import SIDECAR_SUFFIX, sidecar_text
from flows.builtin.backup_directory.testing import Run, make_old, names_in, with_sidecars


def test_the_newest_are_kept_and_nothing_else_is_touched(run: Run, destination: Path) -> None:
    old = [make_old(destination, day) for day in (1, 2, 3, 4)]
    foreign = [make_old(destination, 1, "source-2"), make_old(destination, 1, "other")]
    (destination / "source-20200101T000000Z-0123abcd.tar.zst").write_text("not our form")
    (destination / "source-20190101T000000Z-0123abcd.tar.gz").write_text("no checksum beside it")
    (destination / "notes.txt").write_text("a person's")
    others = [name for name in names_in(destination) if name not in with_sidecars(*old)]
    result = run(keep=3)
    assert result["pruned"] == old[:2]
    new = Path(result["archive"]).name
    assert names_in(destination) == sorted([*others, *with_sidecars(*old[2:], new)])
    assert set(with_sidecars(*foreign)) < set(others)


def test_the_new_archive_stays_even_if_the_others_claim_to_be_newer(run: Run, destination: Path) -> None:
    future = "source-29990101T000000Z-0123abcd.tar.gz"
    (destination / future).write_bytes(b"x")
    (destination / (future + SIDECAR_SUFFIX)).write_text(sidecar_text("0" * 64, future))
    result = run(keep=1)
    assert result["pruned"] == [future]
    assert names_in(destination) == with_sidecars(Path(result["archive"]).name)


def test_an_old_archive_that_cannot_be_removed_is_told(
    run: Run, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = make_old(destination, 1), make_old(destination, 2)
    whole = os.rename

    def rename(old: Any, new: Any, **kwargs: Any) -> None:
        if os.fspath(old).endswith(stuck):
            raise PermissionError(1, "Operation not permitted")
        whole(old, new, **kwargs)

    monkeypatch.setattr(os, "rename", rename)
    result = run(keep=1)
    assert (result["pruned"], result["not_pruned"]) == ([other], [stuck])
    assert names_in(destination) == with_sidecars(stuck, Path(result["archive"]).name)
