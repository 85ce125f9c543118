"""How fast a backup reads."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from flows.builtin.backup_directory import tasks
from flows.builtin.backup_directory.testing import ATOMS, Run
from flows.builtin.support.pacing import Throttle


@pytest.mark.parametrize("atom", ["archive", "checksum", "verify"])
def test_the_rate_holds_for_all_that_reads(
    run: Run, source: Path, monkeypatch: pytest.MonkeyPatch, atom: str
) -> None:
    """Reading n bytes at n bytes a second is accounted for as one second, in small waits."""
    (source / "noise").write_bytes(os.urandom(1_000_000))  # which does not compress
    waited: dict[str, float] = dict.fromkeys(ATOMS, 0.0)
    current = ["scan"]

    def throttle(rate: int | None) -> Throttle:
        assert rate == 1_000_000
        return Throttle(rate, clock=lambda: sum(waited.values()), wait=wait)

    def wait(seconds: float) -> None:
        assert seconds <= 0.2
        waited[current[0]] += seconds

    monkeypatch.setattr(tasks, "Throttle", throttle)
    atoms: dict[str, Any] = {"archive": tasks.Archive, "checksum": tasks.Checksum, "verify": tasks.Verify}
    for name, cls in atoms.items():
        execute = cls.execute

        def named(self: Any, *args: Any, _name: str = name, _execute: Any = execute, **kwargs: Any) -> Any:
            current[0] = _name
            return _execute(self, *args, **kwargs)

        named.__wrapped__ = execute  # type: ignore[attr-defined]
        monkeypatch.setattr(cls, "execute", named)
    result = run(max_rate="1MB")
    size = result["bytes"] if atom == "archive" else result["size"]
    assert waited[atom] == pytest.approx(size / 1_000_000, rel=0.01)


def test_the_rate_takes_real_time(run: Run, source: Path) -> None:
    (source / "noise").write_bytes(os.urandom(200_000))
    started = time.monotonic()
    run(max_rate="1MB", compression="none")
    assert time.monotonic() - started >= 2.0  # 0.7 MB, three times
