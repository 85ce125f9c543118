"""What the documentation points to is there."""

from __future__ import annotations

import os
import pkgutil
import re
from pathlib import Path

import pytest

from tests.support.markdown import PAGES, ROOT, anchors, files, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ISSUE_NUMBER = re.compile(r"(?<![\w&/#`'\"])#\d+\b|\bissues?\s+#?\d+\b", re.IGNORECASE)
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|lua)|(?:[\w.-]+/)+)`")
NAMED_MODULE = re.compile(r"`(jobrunner(?:\.[A-Za-z_]\w*)+)`")
NO_MODULES = frozenset(f"jobrunner.{name}" for name in ("toml", "sql", "sqlite", "flows"))
"""Names of files, of an entry point and of its group, which look like modules."""
NAMED_PAGE = re.compile(r"\bdocs/[\w./-]+\.md\b")
EXAMPLES = frozenset({"flows/office/greeting/flow.py"})
"""What a page tells its reader to write, where its code does not say the file's name."""
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


@pytest.fixture(scope="module")
def ours() -> set[str]:
    """All in the project's folders, as a page may call it: ``plugins/holds.py`` as well as ``holds.py``."""
    found: set[str] = set()
    for top in ("jobrunner", "flows", "tests", "bench", "bin", "docs"):
        for folder, folders, names in os.walk(ROOT / top):
            folders[:] = [name for name in folders if is_ours(Path(name))]
            here = Path(folder).relative_to(ROOT)
            for path in (here, *(here / name for name in names)):
                found.update("/".join(path.parts[start:]) for start in range(len(path.parts)))
    return found


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=relative)
def test_files_that_a_page_names_are_there(path: Path, ours: set[str]) -> None:
    """Or are those of its own examples."""
    examples = {str(place) for name in files(path) for place in (Path(name), *Path(name).parents)}
    named = {name.rstrip("/") for name in NAMED_FILE.findall(prose(path))}
    assert named - ours - examples - EXAMPLES == set()


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_modules_that_a_page_names_can_be_imported(path: Path) -> None:
    for name in set(NAMED_MODULE.findall(prose(path))) - NO_MODULES:
        pkgutil.resolve_name(name)


def test_pages_that_the_code_names_are_there() -> None:
    sources = [path for path in (ROOT / "jobrunner").rglob("*.py") if is_ours(path)]
    assert len(sources) > 100
    named = {
        (page, path) for path in sources for page in NAMED_PAGE.findall(path.read_text(encoding="utf-8"))
    }
    assert named
    assert sorted(f"{relative(path)}: {page}" for page, path in named if not (ROOT / page).is_file()) == []


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


def test_the_architecture_tells_of_every_part() -> None:
    told = prose(ROOT / "docs" / "architecture.md")
    parts = [
        path for path in (ROOT / "jobrunner").iterdir() if is_ours(path) and not path.name.startswith("__")
    ]
    named = {path.name if path.is_file() else f"{path.name}/" for path in parts if path.suffix in ("", ".py")}
    assert len(named) > 10
    assert {name for name in named if f"`{name}`" not in told} == set()
