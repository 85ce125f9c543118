"""What the documentation points to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.markdown import PAGES, ROOT, anchors, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ISSUE_NUMBER = re.compile(r"(?<![\w&/#`'\"])#\d+\b|\bissues?\s+#?\d+\b", re.IGNORECASE)
KNOWN_ROOTS = frozenset(("bin", "etc", "mnt", "opt", "proc", "run", "srv", "tmp", "usr", "var"))


def is_ours(path: Path) -> bool:
    """Whether it belongs to the project, not to a virtual environment or a cache in its tree."""
    return not any(part.startswith((".venv", "__pycache__", ".pytest")) for part in path.parts)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_internal_links_resolve(path: Path) -> None:
    broken = []
    for target in LINK.findall(prose(path)):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        path = ahead.pop()
        if path in reached:
            continue
        reached.add(path)
        for target in LINK.findall(prose(path)):
            there = (path.parent / target.partition("#")[0]).resolve()
            found = sorted(there.glob("*.md")) if there.is_dir() else [there]
            ahead += [one for one in found if one.suffix == ".md" and one.is_file() and one not in reached]
    assert {relative(path) for path in PAGES} == {relative(path) for path in reached}


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_pages_name_no_place_that_only_their_author_has(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    roots = set(re.findall(r"(?<![\w.:/~*>)\]}-])/([\w.-]+)/", text))
    assert roots <= KNOWN_ROOTS
    assert ISSUE_NUMBER.findall(text) == []


def test_code_refers_to_no_issues_by_number() -> None:
    """A number says nothing to somebody who does not have the list."""
    sources = [
        path
        for top in ("jobrunner", "flows", "bin", "tests", "bench", ".ci")
        for path in (ROOT / top).rglob("*")
        if path.suffix in ("", ".py", ".lua", ".txt", ".sh", ".mako") and path.is_file() and is_ours(path)
    ]
    assert len(sources) > 100
    found = [
        f"{relative(path)}: {match}"
        for path in sources
        for match in re.findall(r"\bissues?\s+#?\d+\b", path.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert found == []
