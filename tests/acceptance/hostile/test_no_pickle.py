"""Nothing between posting and running uses pickle, or runs text as code: by the source, and by what a worker does."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.hostile.conftest import Besieged
from tests.acceptance.hostile.postings import MODULE
from tests.support.conductors import ROOT

WATCH = Path(__file__).with_name("watch")
MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "joblib"}
"""Their formats can name code."""
CALLS = {
    "eval",
    "exec",
    "execfile",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
}
SOURCES = sorted([*(ROOT / "jobrunner").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])


def forbidden(source: str) -> Iterator[str]:
    """What a module imports or calls of it, with the line."""
    for node in ast.walk(ast.parse(source)):
        for name in _names(node):
            yield f"{name} in line {getattr(node, 'lineno', 0)}"


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES]
    if isinstance(node, ast.ImportFrom):
        return [node.module] if node.module and node.module.partition(".")[0] in MODULES else []
    if not isinstance(node, ast.Call):
        return []
    name = ast.unparse(node.func)
    imported = [ast.literal_eval(arg) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    if (
        name in ("__import__", "import_module", "importlib.import_module")
        and imported[:1]
        and imported[0] in MODULES
    ):
        return [str(imported[0])]
    shell = any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords)
    return [name] if name in CALLS or shell else []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    import pickle as p",
        "from pickle import loads",
        "import os, marshal",
        "from shelve import open",
        "importlib.import_module('dill')",
        "__import__('pickle').loads(x)",
        "eval(text)",
        "exec(text, {})",
        "yaml.load(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds(source: str) -> None:
    assert list(forbidden(source))


@pytest.mark.parametrize(
    "source", ["json.loads(x)", "re.compile(x)", "run(x, shell=False)", "yaml.safe_load(x)"]
)
def test_the_search_lets_pass(source: str) -> None:
    assert not list(forbidden(source))


def test_no_module_imports_pickle_or_runs_text() -> None:
    assert len(SOURCES) > 100
    found = {
        str(path.relative_to(ROOT)): names
        for path in SOURCES
        if (names := list(forbidden(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def evidence(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_no_process_of_a_conductor_pickles_or_unpickles(
    besiege: Callable[..., Besieged], sqlite_url: str, redis_url: str, tmp_path: Path
) -> None:
    besieged = besiege(sqlite_url, redis_url)
    lines = tmp_path / "pickle"
    besieged.environment |= {
        "PICKLE_EVIDENCE": str(lines),
        "PYTHONPATH": os.pathsep.join(map(str, (WATCH, ROOT))),
    }
    factory = {"name": f"{MODULE}:make_flow", "args": ["hear"], "kwargs": {}}
    honest = [
        *besieged.post_many("quick", count=5),
        besieged.post("echo", text="x"),
        besieged.post("announce", posting={"factory": factory}),
        besieged.post("side_by_side"),
        besieged.post("failing"),
    ]
    besieged.start()
    besieged.ended(*honest)
    watched = evidence(lines)
    assert "watching" in {line["what"] for line in watched}
    assert [line for line in watched if line["what"] != "watching"] == []

    besieged.succeeded(besieged.post("use_pickle"))  # or else nobody was watching
    pids = {line["pid"] for line in evidence(lines) if line["what"].startswith("find_class")}
    assert pids == {worker.pid for worker in besieged.conductors[0].workers()}
