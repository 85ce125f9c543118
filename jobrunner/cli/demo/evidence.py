"""What the demo claims, and whether it is true: by the store, by the processes, and by the archive itself."""

from __future__ import annotations

import hashlib
import signal
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobrunner.cli.demo.story import Story
from jobrunner.model import AtomRecord, JobState

TAKEOVER_MARGIN_S = 2.0
"""A job is resumed within the lease and this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Something that the demo says is so. ``found`` is what was seen instead, if it is not."""

    text: str
    true: bool
    found: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveFacts:
    """What the demo found out about the archive by itself."""

    path: str
    size: int
    sha256: str
    files: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All claims."""

    claims: Sequence[Claim]
    archive: ArchiveFacts | None
    takeover_s: float | None

    @property
    def holds(self) -> bool:
        return all(claim.true for claim in self.claims)


def examine(story: Story) -> Evidence:
    """Compare every claim with what there is."""
    takeover_s = takeover(story)
    archive = read_archive(story)
    claims = [
        *_death(story),
        *_atoms(story),
        _epoch(story),
        _takeover(story, takeover_s),
        _success(story),
        *_archive(story, archive),
    ]
    return Evidence(claims=claims, archive=archive, takeover_s=takeover_s)


def takeover(story: Story) -> float | None:
    """Seconds from the kill to the moment when the interrupted atom was started again."""
    names = {atom.name for atom in story.interrupted}
    starts = [atom.started_ms for atom in story.atoms if atom.name in names and atom.started_ms]
    return (min(starts) - story.killed_ms) / 1000 if starts else None


def _death(story: Story) -> Iterator[Claim]:
    killed, owner = story.killed, story.job_before.owner or "nobody"
    yield Claim(
        text=f"{killed.name} owned the job when it was killed",
        true=bool(killed.identity) and owner.startswith(killed.identity),
        found=f"the owner was {owner}",
    )
    yield Claim(
        text=f"{killed.name} died of SIGKILL",
        true=story.exit_code == -signal.SIGKILL,
        found=f"its exit code is {story.exit_code}",
    )
    yield Claim(
        text="its worker processes ended by themselves",
        true=bool(killed.workers) and story.workers_left == 0,
        found=f"{story.workers_left} of {len(killed.workers)} lived on",
    )


def _atoms(story: Story) -> Iterator[Claim]:
    before = [atom for atom in story.atoms_before if atom.state == "SUCCESS"]
    interrupted = story.interrupted
    known = {atom.name for atom in (*before, *interrupted)}
    after = {atom.name: atom for atom in story.atoms}
    later = [atom for atom in story.atoms if atom.name not in known]
    yield _claim_all(
        f"{_names(before)}: finished on {story.killed.name}, and not run again",
        [after.get(atom.name) for atom in before],
        [_untouched(atom, after.get(atom.name), story.killed.name) for atom in before],
    )
    again = [after.get(atom.name) for atom in interrupted]
    yield _claim_all(
        f"{_names(interrupted)}: interrupted on {story.killed.name}, started again on {story.survivor.name}",
        again,
        [_ran_on(atom, story, starts=2) for atom in again],
    )
    yield _claim_all(
        f"{_names(later)}: run once, on {story.survivor.name}",
        later,
        [_ran_on(atom, story, starts=1) for atom in later],
    )


def _untouched(before: AtomRecord, after: AtomRecord | None, node: str) -> bool:
    if after is None or before.node != node:
        return False
    same = ("state", "owner", "epoch", "starts", "started_ms", "finished_ms", "result")
    return before.starts == 1 and all(getattr(before, name) == getattr(after, name) for name in same)


def _ran_on(atom: AtomRecord | None, story: Story, *, starts: int) -> bool:
    return (
        atom is not None
        and atom.state == "SUCCESS"
        and atom.node == story.survivor.name
        and atom.starts == starts
        and atom.epoch == story.job_before.epoch + 1
    )


def _claim_all(text: str, atoms: Sequence[AtomRecord | None], true: Sequence[bool]) -> Claim:
    wrong = [atom for atom, fine in zip(atoms, true, strict=True) if not fine]
    found = "; ".join(
        "an atom is gone"
        if atom is None
        else f"{atom.name} is {atom.state}, on {atom.node}, starts {atom.starts}, epoch {atom.epoch}"
        for atom in wrong
    )
    return Claim(text=text, true=bool(true) and all(true), found=found or "there was no such atom")


def _epoch(story: Story) -> Claim:
    before, after = story.job_before.epoch, story.job.epoch
    return Claim(
        text=f"the job's epoch rose by one, from {before} to {before + 1}",
        true=after == before + 1,
        found=f"it is {after}",
    )


def _takeover(story: Story, seconds: float | None) -> Claim:
    limit = story.lease + TAKEOVER_MARGIN_S
    told = f"{seconds:.1f} s after the kill" if seconds is not None else "never"
    return Claim(
        text=f"it was taken over {told}, within the lease ({story.lease:g} s) and {TAKEOVER_MARGIN_S:g} s more",
        true=seconds is not None and 0 <= seconds <= limit,
        found=f"that is not within {limit:g} s",
    )


def _success(story: Story) -> Claim:
    error = story.job.error
    found = f"it is {story.job.state}" + (f": {error.message}" if error else "")
    return Claim(text="the job succeeded", true=story.job.state is JobState.SUCCEEDED, found=found)


def read_archive(story: Story) -> ArchiveFacts | None:
    """Read the archive once more: its checksum, and its members; None if there is none that can be read."""
    path = Path(str(_result(story).get("archive", "")))
    try:
        with path.open("rb") as file:
            sha256 = hashlib.sha256()
            while piece := file.read(1 << 20):
                sha256.update(piece)
        with tarfile.open(path) as tar:
            files = sum(member.isreg() for member in tar)
    except (OSError, tarfile.TarError):
        return None
    return ArchiveFacts(path=str(path), size=path.stat().st_size, sha256=sha256.hexdigest(), files=files)


def _archive(story: Story, facts: ArchiveFacts | None) -> Iterator[Claim]:
    told = _result(story)
    if facts is None:
        yield Claim(text="there is an archive", true=False, found=f"cannot be read: {told.get('archive')}")
        return
    sidecar = Path(facts.path + ".sha256")
    noted = sidecar.read_text(encoding="utf-8").split()[:1] if sidecar.is_file() else ["no file"]
    yield Claim(
        text="the archive's checksum is right: computed anew, in the job's result, in the file beside it",
        true=facts.sha256 == told.get("sha256") and noted == [facts.sha256],
        found=f"computed {facts.sha256}, result {told.get('sha256')}, file {' '.join(noted)}",
    )
    yield _completeness(story, facts)


def _completeness(story: Story, facts: ArchiveFacts) -> Claim:
    """Every file that was found is in the archive, but for those that the job says it could not read any more."""
    told = _result(story)
    found = (story.job.result or {}).get("scanned", {}).get("files", -1)
    missing = found - facts.files
    excused = f", but for {missing} that were gone or changed meanwhile" if missing > 0 else ""
    return Claim(
        text=f"the archive holds all {found} files that were found{excused}",
        true=facts.files == told.get("files")
        and facts.size == told.get("size")
        and 0 <= missing <= told.get("skipped_count", 0),
        found=f"read back {facts.files}, archived {told.get('files')}, found {found}",
    )


def _result(story: Story) -> dict[str, Any]:
    result = story.job.result
    backup = result.get("backup") if isinstance(result, dict) else None
    return backup if isinstance(backup, dict) else {}


def _names(atoms: Sequence[AtomRecord]) -> str:
    return ", ".join(atom.name for atom in atoms) or "no atom"
