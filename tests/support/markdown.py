"""The documentation as data: its code blocks, tables, sections and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) +(.*?)\s*$", re.MULTILINE)
_FILE_NAME = re.compile(r"# (flows/\S+\.py)\n")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the block's first line says it is."""
        found = _FILE_NAME.match(self.text)
        return found[1] if found else None


def page(name: str) -> Path:
    """The page of that name, below docs/ or the project's own directory."""
    return next(path for path in (ROOT / "docs" / name, ROOT / name) if path.is_file())


def blocks(path: Path, language: str) -> list[Block]:
    """The page's blocks in that language."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(page=path, line=text.count("\n", 0, found.start()) + 1, language=found[1], text=found[2])
        for found in _FENCE.finditer(text)
        if found[1] == language
    ]


def prose(path: Path) -> str:
    """The page without its blocks of code; lines keep their numbers."""
    return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), path.read_text(encoding="utf-8"))


def files(path: Path) -> dict[str, str]:
    """The files whose content the page's Python blocks are."""
    return {block.file: block.text for block in blocks(path, "python") if block.file}


def sections(path: Path, level: int) -> dict[str, str]:
    """The texts below the headings of that level, by heading."""
    text = path.read_text(encoding="utf-8")
    headings = [found for found in _HEADING.finditer(prose_mask(text)) if len(found[1]) <= level]
    ends = [found.start() for found in headings[1:]] + [len(text)]
    return {
        found[2]: text[found.end() : end]
        for found, end in zip(headings, ends, strict=True)
        if len(found[1]) == level
    }


def anchors(path: Path) -> set[str]:
    """The names by which the page's headings are linked to, as GitHub makes them."""
    titles = [found[2] for found in _HEADING.finditer(prose(path))]
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


def tables(text: str) -> list[list[list[str]]]:
    """The tables in a text, each as rows of cells, without the line below its head."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            found[-1].append([cell.strip().replace("\\|", "|") for cell in cells])
        elif found[-1]:
            found.append([])
    return [[row for row in table if not set("".join(row)) <= set("-: ")] for table in found if table]


def commands(block: Block, program: str = "jobrunner") -> Iterator[list[str]]:
    """The arguments of each call of a program after a ``$`` in a console block, also within a pipe."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if not line.startswith("$ "):
            continue
        lexer = shlex.shlex(line[2:], posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, "|"]:
            if word and set(word) <= set("|&;<>"):
                if words and Path(words[0]).name == program:
                    yield words[1:]
                words = ["(file)"] if ">" in word or "<" in word else []
            else:
                words.append(word)


def prose_mask(text: str) -> str:
    """The text with its blocks of code blanked out, every character in its place."""
    return _FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
