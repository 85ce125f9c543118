from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jobrunner.errors import (
    InvalidFlow,
    InvalidParameters,
    PluginError,
    PostingTooLarge,
    UnknownCapability,
    UnknownJobType,
)
from jobrunner.model import Posting
from jobrunner.plugins import JobType, Registry, classic_posting, register_capability

MakeModule = Callable[[str, str], ModuleType]

PLUGIN = """
import functools, os
from os import system
from shutil import rmtree
from taskflow.patterns import linear_flow
from taskflow.task import Task
from jobrunner import register_job, job

class Echo(Task):
    def execute(self, text): return text

def make_flow(count=1, *, name="classic"):
    return linear_flow.Flow(name).add(*[Echo(f"echo-{i}") for i in range(count)])

def _private(): return make_flow()
def returns_text(): return "text"
async def later(): ...
partial = functools.partial(make_flow, 2)
posted = []

@register_job()
def simple(args=None):
    posted.append(args)
    return POST(make_flow, store={"text": "a"}, factory_args=[2])
"""


@pytest.fixture
def plugin(registry: Registry, module: MakeModule) -> ModuleType:
    made = module("flows.acme.simple.flow", PLUGIN)
    made.POST = lambda factory, **settings: classic_posting(registry, factory, **settings)  # type: ignore[attr-defined]
    return made


@pytest.fixture
def simple(registry: Registry, plugin: ModuleType) -> JobType:
    return registry.get_type("simple")


def test_running_the_function_posts_as_its_type(simple: JobType, plugin: ModuleType) -> None:
    posting = simple.run_classic(("--port", "80"))

    assert plugin.posted == [["--port", "80"]]
    assert posting == Posting(
        type="simple",
        parameters={"text": "a"},
        factory={"name": "flows.acme.simple.flow:make_flow", "args": [2], "kwargs": {}},
    )
    json.dumps(posting.factory)
    flow = simple.build(posting.parameters, posting.factory)
    assert [task.name for task in flow] == ["echo-0", "echo-1"]
    assert simple.store(posting.parameters) == {"text": "a"}
    assert simple.accept(posting) == posting


def test_without_a_running_function_the_only_type_of_the_plugin_is_meant(
    registry: Registry, simple: JobType, plugin: ModuleType
) -> None:
    posting = classic_posting(registry, plugin.make_flow, factory_kwargs={"name": "n"})

    assert posting.type == "simple"
    assert simple.build(posting.parameters, posting.factory).name == "n"


def test_a_plugin_with_several_types_has_to_say_which(
    registry: Registry, plugin: ModuleType, module: MakeModule
) -> None:
    module(
        "flows.acme.simple.more",
        "from jobrunner import register_job\n@register_job()\ndef other(args=None): ...",
    )

    with pytest.raises(
        UnknownJobType, match=r"it is not clear as which job type .*make_flow is posted: .* other, simple"
    ):
        classic_posting(registry, plugin.make_flow)
    assert registry.get_type("simple").run_classic().type == "simple"


def test_a_factory_of_no_plugin_cannot_be_posted(registry: Registry, module: MakeModule) -> None:
    lonely = module("flows.acme.lonely.flow", "def make(): ...")

    with pytest.raises(
        UnknownJobType, match=r"lonely.flow:make cannot be posted: .*registers no job type"
    ) as error:
        classic_posting(registry, lonely.make)
    assert "@register_job()" in str(error.value.hint)


def test_a_typed_factory_is_posted_as_its_own_type(registry: Registry, module: MakeModule) -> None:
    typed = module(
        "flows.acme.typed.flow",
        "from jobrunner import job\nfrom pathlib import Path\n@job\ndef tidy(source: Path, keep: int = 3): ...",
    )

    posting = classic_posting(registry, typed.tidy, factory_args=["/a"], factory_kwargs={"keep": "5"})
    assert posting == Posting(type="tidy", parameters={"source": "/a", "keep": 5})
    assert classic_posting(registry, typed.tidy, store={"source": Path("/b")}).parameters == {
        "source": "/b",
        "keep": 3,
    }
    with pytest.raises(InvalidParameters, match="tidy has no parameter 'other'"):
        classic_posting(registry, typed.tidy, store={"source": "/b", "other": 1})
    with pytest.raises(InvalidParameters, match="the arguments do not fit tidy: too many positional"):
        classic_posting(registry, typed.tidy, factory_args=[1, 2, 3])


def test_capabilities_are_names_or_functions(registry: Registry, plugin: ModuleType) -> None:
    @register_capability("gpu")
    def has_gpu(job: Any) -> bool:
        return True

    @register_capability
    def fast(job: Any) -> bool:
        return True

    posting = classic_posting(registry, plugin.make_flow, capabilities={has_gpu, "fast"})
    assert posting.capabilities == ("fast", "gpu")
    with pytest.raises(UnknownCapability, match="no capability 'fats': did you mean fast"):
        classic_posting(registry, plugin.make_flow, capabilities=["fats"])
    with pytest.raises(PluginError, match="is not a capability"):
        classic_posting(registry, plugin.make_flow, capabilities=[plugin.make_flow])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"store": {"p": Path("/a")}}, "'p' in the store of simple cannot be stored as JSON: .*PosixPath"),
        ({"store": {1: "a"}}, "the store of simple has the key 1: keys have to be text"),
        ({"store": {"a": "\x00"}}, r"'a' in the store of simple has the character U\+0000"),
        (
            {"factory_args": [1, {2}]},
            "argument 2 of flows.acme.simple.flow:make_flow cannot be stored as JSON",
        ),
        ({"factory_kwargs": {"name": float("nan")}}, "argument 'name' of .* holds nan"),
    ],
)
def test_what_is_not_json_cannot_be_posted(
    registry: Registry, plugin: ModuleType, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParameters, match=message):
        classic_posting(registry, plugin.make_flow, **settings)


def test_store_and_arguments_are_limited_together(registry: Registry, plugin: ModuleType) -> None:
    half = "x" * 140_000
    classic_posting(registry, plugin.make_flow, store={"text": half})
    with pytest.raises(PostingTooLarge, match="the posting of simple would take 280,"):
        classic_posting(registry, plugin.make_flow, store={"text": half}, factory_kwargs={"name": half})


def test_tuples_are_stored_as_lists(registry: Registry, plugin: ModuleType) -> None:
    posting = classic_posting(registry, plugin.make_flow, store={"text": ("a", ("b",))}, factory_args=(1,))
    assert posting.parameters == {"text": ["a", ["b"]]}
    assert posting.factory is not None
    assert posting.factory["args"] == [1]


HOSTILE = [
    ("os:system", r"only functions of its own plugin, flows\.acme\.simple, can be"),
    ("builtins:eval", "only functions of its own plugin"),
    ("subprocess:run", "only functions of its own plugin"),
    ("jobrunner.plugins.classic:run", "only functions of its own plugin"),
    ("flows.other.plugin.flow:make_flow", "only functions of its own plugin"),
    ("flows.acme.simple_evil.flow:make", "only functions of its own plugin"),
    ("flows:x", "only functions of its own plugin"),
    (":make_flow", "only functions of its own plugin"),
    ("flows.acme.simple.flow:system", "there is no plain function of that name"),
    ("flows.acme.simple.flow:rmtree", "it is defined in shutil"),
    ("flows.acme.simple.flow:os", "there is no plain function"),
    ("flows.acme.simple.flow:os.system", "defined inside of another function or class"),
    ("flows.acme.simple.flow:Echo.execute", "defined inside of another"),
    ("flows.acme.simple.flow:make_flow.<locals>.inner", "defined inside of another"),
    ("flows.acme.simple.flow:Echo", "there is no plain function"),
    ("flows.acme.simple.flow:partial", "there is no plain function"),
    ("flows.acme.simple.flow:nothing", "there is no plain function"),
    ("flows.acme.simple.flow:_private", "private names cannot be posted"),
    ("flows.acme.simple.flow:__builtins__", "private names cannot be posted"),
    ("flows.acme.simple.__main__:make_flow", "private names cannot be posted"),
    ("flows.acme.simple._hidden:make_flow", "private names cannot be posted"),
    ("flows.acme.simple...os:system", "private names cannot be posted"),
    ("flows.acme.simple.flow:", "private names cannot be posted"),
    ("flows.acme.simple.flow", "private names cannot be posted"),
    ("flows.acme.simple.flow:make flow", "private names cannot be posted"),
    ("flows.acme.simple.missing:make_flow", "flows.acme.simple.missing cannot be imported"),
    ("flows.acme.simple.flow:simple", "it is the function that posts"),
    ("flows.acme.simple.flow:later", "it is async, or a generator"),
    ("x" * 10_000, "only functions of its own plugin"),
]


@pytest.mark.parametrize(("name", "message"), HOSTILE, ids=[name[:60] for name, _ in HOSTILE])
def test_the_conductor_runs_nothing_but_public_functions_of_the_plugin(
    simple: JobType, name: str, message: str
) -> None:
    for act in (
        lambda: simple.build({}, {"name": name, "args": [], "kwargs": {}}),
        lambda: simple.accept(Posting(type="simple", factory={"name": name, "args": [], "kwargs": {}})),
    ):
        with pytest.raises(InvalidFlow, match=message) as error:
            act()
        assert len(error.value.message) < 300


def test_looking_for_a_factory_imports_nothing_else(
    simple: JobType, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(InvalidFlow):
        simple.build({}, {"name": "evil_module:run"})

    assert "evil_module" not in sys.modules


@pytest.mark.parametrize(
    "factory",
    [
        None,
        {},
        {"name": 5},
        {"name": "flows.acme.simple.flow:make_flow", "args": "ab"},
        {"name": "flows.acme.simple.flow:make_flow", "kwargs": [1]},
        {"name": "flows.acme.simple.flow:make_flow", "kwargs": {1: 2}},
        {"name": "flows.acme.simple.flow:make_flow", "code": "import os"},
        ["flows.acme.simple.flow:make_flow"],
    ],
)
def test_a_malformed_factory_is_refused(simple: JobType, factory: Any) -> None:
    with pytest.raises(
        InvalidFlow, match="a posting of simple has to name the function that makes the flow, as"
    ):
        simple.build({}, factory)


def test_functions_that_no_conductor_would_find_are_refused_when_posting(
    registry: Registry, simple: JobType, plugin: ModuleType, module: MakeModule
) -> None:
    stranger = module("flows.acme.stranger.flow", "def make(): ...")
    plugin.POST = lambda factory, **_: classic_posting(registry, plugin.chosen)  # type: ignore[attr-defined]

    def inner() -> None: ...

    inner.__module__ = plugin.__name__
    for chosen, message in [
        (stranger.make, "only functions of its own plugin"),
        (inner, "defined inside of another function or class; move it to module level"),
        (plugin.partial, "cannot be the flow factory of a simple job: it is no plain function"),
        (plugin._private, "private names cannot be posted"),
    ]:
        plugin.chosen = chosen  # type: ignore[attr-defined]
        with pytest.raises(InvalidFlow, match=message):
            simple.run_classic()


def test_a_function_that_was_replaced_is_not_taken_for_its_namesake(
    registry: Registry, simple: JobType, plugin: ModuleType
) -> None:
    original = plugin.make_flow
    exec("def make_flow(): ...", vars(plugin))
    with pytest.raises(
        InvalidFlow, match="not the function that was given to post_job, but another of the same name"
    ):
        classic_posting(registry, original)


def test_the_product_is_checked(simple: JobType) -> None:
    with pytest.raises(InvalidFlow, match="returned 'text' of type str"):
        simple.build({}, {"name": "flows.acme.simple.flow:returns_text"})
    with pytest.raises(InvalidFlow, match="failed: TypeError"):
        simple.build({}, {"name": "flows.acme.simple.flow:make_flow", "kwargs": {"nope": 1}})


def test_typed_types_cannot_be_run_as_classic_ones(registry: Registry, module: MakeModule) -> None:
    module("flows.acme.typed.flow", "from jobrunner import job\n@job\ndef tidy(): ...")
    with pytest.raises(InvalidFlow, match="tidy is a flow factory, it does not parse arguments"):
        registry.get_type("tidy").run_classic([])
