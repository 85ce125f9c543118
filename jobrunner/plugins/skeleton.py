"""A new plugin that works, with a test that passes: what ``jobrunner new <group>/<job>`` makes."""

from __future__ import annotations

import keyword
import os
import re
from pathlib import Path
from string import Template

from jobrunner.errors import UsageError
from jobrunner.plugins.registry import BUILTIN

TEMPLATES = Path(__file__).parent / "templates"
FILES = {"flow.py": "flow.py.txt", "tasks.py": "tasks.py.txt", "test_flow.py": "test_flow.py.txt"}


def create_plugin(root: Path, group: str, job: str) -> list[Path]:
    """Write ``flows/<group>/<job>/`` below ``root``; returns the files that it made, flow.py first.

    Empty ``__init__.py`` files are made where there are none, so that pytest can tell the test files of
    several plugins apart. Raises UsageError if a name is none, or the plugin exists: nothing is ever
    overwritten.
    """
    _check_name(group, "group")
    _check_name(job, "job")
    if group == BUILTIN:
        raise UsageError(f"the group {BUILTIN!r} is jobrunner's own: choose another")
    directory = root / "flows" / group / job
    taken = next(filter(os.path.exists, (directory, directory.with_suffix(".py"))), None)
    if taken is not None:
        raise UsageError(f"{taken} exists already: choose another name, or remove it first")
    names = {"group": group, "job": job, "title": job.replace("_", " ")}
    texts = {
        name: Template((TEMPLATES / file).read_text("utf-8")).substitute(names)
        for name, file in FILES.items()
    }
    try:
        directory.mkdir(parents=True)
        made = [_write(directory / name, text) for name, text in texts.items()]
        packages = (directory, directory.parent, directory.parent.parent)
        missing = [package / "__init__.py" for package in packages if not (package / "__init__.py").exists()]
        return made + [_write(path, "") for path in missing]
    except OSError as error:
        raise UsageError(f"{error.filename or directory} cannot be written: {error.strerror}") from error


def _write(path: Path, text: str) -> Path:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


def _check_name(name: str, kind: str) -> None:
    if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) and not keyword.iskeyword(name):
        return
    like = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")
    fits = re.fullmatch(r"[a-z][a-z0-9_]{0,63}", like) and not keyword.iskeyword(like)
    raise UsageError(
        f"{name!r} cannot be the name of a {kind}: it names a Python module, so it has lower-case letters, "
        f"digits and '_', begins with a letter, and is no word of the language",
        hint=f"{like!r} would do" if fits else None,
    )
