from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from jobrunner.errors import PluginError, UnknownCapability, UnknownJobType
from jobrunner.model import Priority
from jobrunner.plugins import capability_names, job, register_capability, register_job
from jobrunner.plugins.registry import PluginProblem, Registry, plugin_package

MakeModule = Callable[[str, str], ModuleType]


def test_job_registers_a_factory_and_returns_it_unchanged(registry: Registry) -> None:
    def tidy(days: int = 3) -> None:
        """Tidy up.

        And more.
        """

    assert job(tidy) is tidy

    job_type = registry.get_type("tidy")
    assert job_type.factory is tidy
    assert (job_type.description, job_type.engine, job_type.timeout, job_type.is_classic) == (
        "Tidy up.",
        "serial",
        None,
        False,
    )
    assert [parameter.name for parameter in job_type.parameters] == ["days"]


def test_job_takes_settings(registry: Registry) -> None:
    @job(
        "tidy.up-1",
        capabilities={"b:2", "a"},
        timeout="1h30m",
        engine="parallel",
        max_workers=4,
        priority="very-high",
        description="Other words",
    )
    def tidy() -> None: ...

    job_type = registry.get_type("tidy.up-1")
    assert job_type.capabilities == ("a", "b:2")
    assert (job_type.timeout, job_type.engine, job_type.max_workers) == (5400, "parallel", 4)
    assert (job_type.priority, job_type.description) == (Priority.VERY_HIGH, "Other words")


@pytest.mark.parametrize("timeout", [90, 90.0, "90s", timedelta(seconds=90)])
def test_timeouts_are_seconds(registry: Registry, timeout: Any) -> None:
    @job(timeout=timeout)
    def tidy() -> None: ...

    assert registry.get_type("tidy").timeout == 90


@pytest.mark.parametrize("brackets", [True, False])
def test_register_job_registers_the_classic_form(registry: Registry, brackets: bool) -> None:
    def simple(args: Any = None) -> None:
        """Serve."""

    assert (register_job() if brackets else register_job)(simple) is simple

    job_type = registry.get_type("simple")
    assert job_type.is_classic
    assert job_type.classic is simple
    assert len(job_type.parameters) == 0


def test_register_capability_registers_a_predicate(registry: Registry) -> None:
    @register_capability(timeout="2s")
    def has_gpu(job: Any) -> bool:
        """There is a GPU."""
        return True

    capability = registry.get_capability("has_gpu:big")
    assert (capability.predicate, capability.timeout, capability.description) == (
        has_gpu,
        2,
        "There is a GPU.",
    )


def test_capabilities_can_be_given_as_functions(registry: Registry) -> None:
    @register_capability("gpu")
    def has_gpu(job: Any) -> bool:
        return True

    assert capability_names([has_gpu, "fast"]) == ("fast", "gpu")
    assert capability_names("fast") == ("fast",)
    with pytest.raises(PluginError, match="is not a capability: give a name, or a function with @register"):
        capability_names([len])
    with pytest.raises(PluginError, match="5 are no capabilities: give names, or functions"):
        capability_names(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "2 fast"}, r"'2 fast' cannot be the name of a job type: names have up to 128 letters"),
        ({"name": "x" * 129}, "cannot be the name of a job type"),
        ({"timeout": "soon"}, "the timeout of .*tidy: 'soon' is not a duration such as"),
        ({"timeout": 0}, "the timeout of .*tidy is 0, and has to be more than nothing"),
        ({"engine": "quantum"}, "the engine of .*tidy is 'quantum', and can be serial or parallel"),
        ({"max_workers": 0}, "max_workers of .*tidy is 0, and has to be at least 1"),
        ({"priority": "now"}, "the priority of .*tidy is 'now', and can be CRITICAL, VERY_HIGH, HIGH"),
        ({"capabilities": ["a b"]}, "'a b' cannot be the name of a capability"),
    ],
)
def test_job_refuses_what_makes_no_sense(registry: Registry, settings: dict[str, Any], message: str) -> None:
    def tidy() -> None: ...

    with pytest.raises(PluginError, match=message):
        job(**settings)(tidy)

    assert not registry.job_types


def test_job_refuses_what_cannot_be_called_by_name(registry: Registry) -> None:
    def star(*sources: str) -> None: ...

    def keywords(**options: str) -> None: ...

    def positional(source: str, /) -> None: ...

    async def later() -> None: ...

    with pytest.raises(PluginError, match=r"star takes \*sources.*a job's parameters are named one by one"):
        job(star)
    with pytest.raises(PluginError, match=r"keywords takes \*\*options"):
        job(keywords)
    with pytest.raises(PluginError, match="positional takes 'source' by position only"):
        job(positional)
    with pytest.raises(PluginError, match="later has to be a plain function, not async"):
        job(later)
    with pytest.raises(PluginError, match="@job decorates functions"):
        job()(dict)


def test_the_first_of_two_with_one_name_stays(registry: Registry, module: MakeModule) -> None:
    source = "from jobrunner import job\n@job\ndef tidy(): ...\n@job\ndef other_{}(): ..."
    module("flows.one.tidy.flow", source.format(1))
    module("flows.two.tidy.flow", source.format(2))

    assert registry.get_type("tidy").module == "flows.one.tidy.flow"
    assert set(registry.job_types) == {"tidy", "other_1", "other_2"}
    (problem,) = registry.problems
    assert problem.where == "flows.two.tidy.flow"
    assert "flows.two.tidy.flow:tidy" in problem.message
    assert "because flows.one.tidy.flow:tidy" in problem.message
    assert "/nowhere/flows/one/tidy/flow.py" in problem.message


def test_registering_the_same_function_again_replaces_it(registry: Registry, module: MakeModule) -> None:
    first = module("flows.one.tidy.flow", "from jobrunner import job\n@job\ndef tidy(): ...").tidy
    second = module("flows.one.tidy.flow", "from jobrunner import job\n@job\ndef tidy(): ...").tidy

    assert first is not second
    assert registry.get_type("tidy").factory is second
    assert not registry.problems


def test_unknown_names_are_answered_with_similar_ones(registry: Registry) -> None:
    @job
    def backup_directory() -> None: ...

    @register_capability
    def has_gpu(job: Any) -> bool:
        return True

    with pytest.raises(
        UnknownJobType, match="no job type 'backup_dir': did you mean backup_directory"
    ) as no_type:
        registry.get_type("backup_dir")
    assert "jobrunner types" in str(no_type.value.hint)
    with pytest.raises(UnknownCapability, match="no capability 'has_gpus': did you mean has_gpu"):
        registry.get_capability("has_gpus:2")


def test_unknown_names_may_be_in_a_broken_plugin(registry: Registry) -> None:
    for name in ("a", "b", "c", "tidy"):
        registry.add_problem(
            PluginProblem(source="here", where=f"flows.x.{name}.flow", message="ImportError: no y")
        )

    with pytest.raises(UnknownJobType) as error:
        registry.get_type("tidy")

    hint = str(error.value.hint)
    assert "it may be in a plugin that has a problem (flows.x.tidy.flow: ImportError: no y; " in hint
    assert "jobrunner doctor" in hint
    assert "flows.x.c" not in hint


def test_withdraw_forgets_one_plugin(registry: Registry, module: MakeModule) -> None:
    module("flows.one.tidy.flow", "from jobrunner import job\n@job\ndef tidy(): ...")
    module("flows.one.tidy2.flow", "from jobrunner import job\n@job\ndef tidy2(): ...")

    registry.withdraw("flows.one.tidy")

    assert list(registry.job_types) == ["tidy2"]


def test_reset_forgets_everything(registry: Registry) -> None:
    @job
    def tidy() -> None: ...

    registry.add_problem(PluginProblem(source="here", where="x", message="y"))
    registry.reset()

    assert not registry.job_types
    assert not registry.problems


def test_adopting_changes_the_contents_and_not_what_is_in_use(registry: Registry) -> None:
    @job
    def tidy() -> None: ...

    in_use, all_types = registry.get_type("tidy"), registry.job_types
    registry.adopt(Registry())

    assert not registry.job_types
    assert all_types["tidy"] is in_use


@pytest.mark.parametrize(
    ("module_name", "package"),
    [
        ("flows.acme.tidy.flow", "flows.acme.tidy"),
        ("flows.acme.tidy.deep.inside", "flows.acme.tidy"),
        ("flows.acme.tidy", "flows.acme.tidy"),
        ("acme_jobs.flow", "acme_jobs"),
        ("acme_jobs.backup", "acme_jobs.backup"),
        ("flow", "flow"),
    ],
)
def test_tells_a_modules_plugin(module_name: str, package: str) -> None:
    assert plugin_package(module_name) == package


def test_importing_is_cheap() -> None:
    program = (
        "import sys, jobrunner.plugins as p; p.job, p.register_job, p.register_capability, p.Registry, p.load_plugins;"
        "print([m for m in ('taskflow', 'pydantic', 'networkx', 'psutil', 'flows') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
