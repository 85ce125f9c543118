from __future__ import annotations

import sys
from asyncio import CancelledError
from pathlib import Path
from typing import Any

import pytest
from taskflow import retry
from taskflow.flow import Flow
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.task import Task

from jobrunner.errors import InvalidFlow, InvalidParameters
from jobrunner.model import Posting
from jobrunner.plugins import Registry, check_flow, job


class Make(Task):
    default_provides = "made"

    def execute(self, source: str) -> str:
        return source


class Use(Task):
    def execute(self, made: str) -> None: ...


def test_builds_the_flow_from_typed_values(registry: Registry) -> None:
    seen: list[Any] = []

    @job
    def tidy(source: Path, keep: int = 3) -> Flow:
        seen.append((source, keep))
        return linear_flow.Flow("tidy").add(Make())

    job_type = registry.get_type("tidy")
    posting = job_type.accept(Posting(type="tidy", parameters={"source": "/a"}))

    assert posting.parameters == {"source": "/a", "keep": 3}
    assert isinstance(job_type.build(posting.parameters), linear_flow.Flow)
    assert seen == [(Path("/a"), 3)]
    assert job_type.store({"source": "/a"}) == {"source": "/a", "keep": 3}


def test_a_task_becomes_a_flow(registry: Registry) -> None:
    @job
    def tidy() -> Task:
        return Make("only")

    flow = registry.get_type("tidy").build({})
    assert flow.name == "only"
    assert [task.name for task in flow] == ["only"]


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (
            None,
            r"tidy.* returned None of type NoneType, not a TaskFlow flow or task; did it forget to return the flow",
        ),
        ("text", "returned 'text' of type str, not a TaskFlow"),
        (retry.Times(1), "of type Times, not a TaskFlow"),
    ],
)
def test_refuses_what_is_no_flow(registry: Registry, product: Any, message: str) -> None:
    @job
    def tidy() -> Any:
        return product

    with pytest.raises(InvalidFlow, match=message):
        registry.get_type("tidy").build({})


def test_a_factory_that_fails(registry: Registry) -> None:
    @job
    def tidy() -> Flow:
        raise KeyError("nothing")

    with pytest.raises(InvalidFlow, match=r"the flow factory of tidy, .*tidy, failed: KeyError: 'nothing'"):
        registry.get_type("tidy").build({})


def test_a_factory_that_would_end_the_process(registry: Registry) -> None:
    @job
    def tidy() -> Flow:
        sys.exit(4)

    with pytest.raises(InvalidFlow, match=r"the flow factory of tidy, .*tidy, called sys.exit\(4\)"):
        registry.get_type("tidy").build({})


@pytest.mark.parametrize("fault", [CancelledError(), GeneratorExit()])
def test_what_a_factory_raises_that_is_no_exception_is_its_failure(
    registry: Registry, fault: BaseException
) -> None:
    @job
    def tidy() -> Flow:
        raise fault

    with pytest.raises(InvalidFlow, match=f"failed: {type(fault).__name__}"):
        registry.get_type("tidy").build({})


def test_what_a_factory_prints_while_a_posting_is_checked_is_no_data(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    @job
    def tidy(source: str) -> Task:
        print("looking around")
        return Make("only")

    before = sys.stdout
    registry.get_type("tidy").require_sound({"source": "/a"})
    assert sys.stdout is before
    assert capsys.readouterr() == ("", "looking around\n")


def test_a_factory_that_refuses_a_value(registry: Registry) -> None:
    @job
    def tidy(keep: int) -> Flow:
        raise ValueError("keep: 0 is less than 1")

    with pytest.raises(InvalidParameters, match=r"^tidy: keep: 0 is less than 1$"):
        registry.get_type("tidy").build({"keep": 0})


def test_only_the_classic_form_names_a_factory(registry: Registry) -> None:
    @job
    def tidy() -> Flow:
        return linear_flow.Flow("tidy")

    factory = {"name": f"{__name__}:Make", "args": [], "kwargs": {}}
    message = "tidy has a flow factory of its own, so a posting of it cannot name another"
    with pytest.raises(InvalidFlow, match=message):
        registry.get_type("tidy").accept(Posting(type="tidy", factory=factory))
    with pytest.raises(InvalidFlow, match=message):
        registry.get_type("tidy").build({}, factory)


def test_flows_that_can_run_pass() -> None:
    check_flow(linear_flow.Flow("f").add(Make(), Use()), {"source"})
    check_flow(graph_flow.Flow("f").add(Use(), Make()), {"source", "more"})


def test_missing_values_are_told_with_who_needs_them() -> None:
    flow = linear_flow.Flow("f").add(Use("use"), Make("make"))
    with pytest.raises(
        InvalidFlow, match=r"needs 'made' \(for use\), 'source' \(for make\), which nothing provides"
    ) as e:
        check_flow(flow, {"other"})
    assert "make it a parameter of the job" in str(e.value.hint)


def test_atoms_of_one_name_are_refused() -> None:
    inner = unordered_flow.Flow("inner", retry=retry.Times(1, name="same")).add(Make("same"))
    with pytest.raises(InvalidFlow, match="the flow 'f' has more than one atom named same"):
        check_flow(linear_flow.Flow("f").add(inner), {"source"})


def test_empty_flows_are_refused() -> None:
    with pytest.raises(InvalidFlow, match="the flow 'f' has no tasks"):
        check_flow(linear_flow.Flow("f"), ())


def test_flows_that_do_not_compile_are_refused() -> None:
    task = Make()
    flow = linear_flow.Flow("f").add(linear_flow.Flow("a").add(task), linear_flow.Flow("b").add(task))
    with pytest.raises(InvalidFlow, match="the flow 'f' does not compile: "):
        check_flow(flow, {"source"})
