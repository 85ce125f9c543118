from __future__ import annotations

import logging
import platform
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobrunner.errors import UnknownCapability
from jobrunner.model import JobView
from jobrunner.plugins import Evaluator, Registry, Verdict, check_reference, register_capability
from jobrunner.plugins.builtin_capabilities import register_all

PATIENCE = 10
"""Seconds that a test waits at most for what comes at once."""


def view(**parameters: Any) -> JobView:
    return JobView(id="1", type="tidy", parameters=parameters)


@pytest.fixture
def evaluator(registry: Registry) -> Evaluator:
    register_all()
    return Evaluator(registry, timeout=PATIENCE)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds predicates back until it is set; set at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


def test_predicates_see_the_job_and_their_argument(evaluator: Evaluator) -> None:
    seen: list[Any] = []

    @register_capability
    def plain(job: JobView) -> bool:
        seen.append(job.parameters["a"])
        return True

    @register_capability
    def exact(job: JobView, argument: str = "none") -> bool:
        seen.append(argument)
        return argument == "b:c"

    assert evaluator.satisfies(["plain", "exact:b:c"], view(a=1)) == Verdict(ok=True)
    assert not evaluator.evaluate("exact", view(a=1))
    assert seen == [1, "b:c", "none"]


def test_the_first_no_is_the_reason(evaluator: Evaluator) -> None:
    asked: list[str] = []

    @register_capability
    def no(job: JobView) -> bool:
        asked.append("no")
        return False

    @register_capability
    def why(job: JobView) -> Verdict:
        asked.append("why")
        return Verdict(ok=False, reason="it is Sunday")

    assert evaluator.satisfies(["is_linux", "no", "why"], view()).reason == "no: it said no"
    assert evaluator.satisfies(["why", "no"], view()).reason == "why: it is Sunday"
    assert asked == ["no", "why"]


def test_what_a_predicate_raises_counts_as_no_and_is_logged_once(
    evaluator: Evaluator, caplog: pytest.LogCaptureFixture
) -> None:
    @register_capability
    def broken(job: JobView) -> bool:
        raise KeyError("gpu")

    @register_capability
    def leaves(job: JobView) -> bool:
        sys.exit(3)

    with caplog.at_level(logging.WARNING):
        assert evaluator.evaluate("broken", view()) == Verdict(ok=False, reason="it raised KeyError: 'gpu'")
        assert evaluator.evaluate("broken", view()).reason == "it raised KeyError: 'gpu'"
        assert evaluator.evaluate("leaves", view()).reason == "it raised SystemExit: 3"

    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("capability broken of ")
    assert messages[0].endswith("it raised KeyError: 'gpu'; that counts as no")
    assert caplog.records[0].exc_info is not None


def test_a_late_answer_counts_as_no_and_others_are_not_kept_waiting(
    evaluator: Evaluator, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    ended = threading.Event()

    @register_capability(timeout=0.05)
    def slow(job: JobView) -> bool:
        calls.append(1)
        if len(calls) == 1:
            gate.wait(PATIENCE)
        ended.set()
        return True

    assert evaluator.evaluate("slow", view()).reason == "it did not answer within 0.05 s"
    assert evaluator.evaluate("slow", view()).reason == "it still works on an earlier question"
    assert evaluator.evaluate("is_linux", view())
    assert len(calls) == 1
    assert "the job is left to other nodes" in caplog.text

    gate.set()
    assert ended.wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name == "capability-slow":
            thread.join(PATIENCE)
    assert evaluator.evaluate("slow", view())


def test_an_unknown_capability_is_no(evaluator: Evaluator) -> None:
    assert (
        evaluator.evaluate("is_linus", view()).reason
        == "there is no capability 'is_linus': did you mean is_linux?"
    )


def test_references_are_checked(registry: Registry, evaluator: Evaluator) -> None:
    check_reference(registry, "is_linux")
    check_reference(registry, "has_command:ls")
    with pytest.raises(UnknownCapability, match="'is_linux' takes no argument, and 'is_linux:6' has one"):
        check_reference(registry, "is_linux:6")
    with pytest.raises(
        UnknownCapability, match="'has_command' needs an argument: write has_command:<argument>"
    ):
        check_reference(registry, "has_command")


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_port_is_free_sees_a_listener(evaluator: Evaluator, address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        verdict = evaluator.evaluate("port_is_free", view(port=port))
        assert not verdict
        assert verdict.reason == f"port {port} is not free: Address already in use"
        assert not evaluator.evaluate("port_is_free", view(port=port, host="127.0.0.1"))
    assert evaluator.evaluate("port_is_free", view(port=port))
    assert evaluator.evaluate("port_is_free", view(port=port, bind="127.0.0.1"))


def test_port_is_free_is_not_misled_by_connections_that_linger(evaluator: Evaluator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = server.accept()
            connection.close()  # the side that closes first lingers in TIME_WAIT
            assert client.recv(1) == b""
    with socket.socket() as strict, pytest.raises(OSError, match="Address already in use"):
        strict.bind(("127.0.0.1", port))

    assert evaluator.evaluate("port_is_free", view(port=port))


@pytest.mark.parametrize("port", [None, "80", -1, 65_536, True])
def test_port_is_free_needs_a_port(evaluator: Evaluator, port: object) -> None:
    assert (
        "has no parameter 'port' with a port's number"
        in evaluator.evaluate("port_is_free", view(port=port)).reason
    )


@pytest.mark.parametrize(
    ("machine", "x86", "arm"),
    [("x86_64", True, False), ("AMD64", True, False), ("aarch64", False, True), ("riscv64", False, False)],
)
def test_processors(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch, machine: str, x86: bool, arm: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert bool(evaluator.evaluate("is_x86_64", view())) is x86
    assert bool(evaluator.evaluate("is_arm64", view())) is arm


def test_commands_and_modules(evaluator: Evaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not evaluator.evaluate("has_command:my-tool", view())
    tool.chmod(0o755)
    assert evaluator.evaluate("has_command:my-tool", view())

    (tmp_path / "explosive").mkdir()
    (tmp_path / "explosive" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert evaluator.evaluate("has_python_module:explosive", view())
    assert evaluator.evaluate("has_python_module:explosive.part", view()).reason == (
        "'explosive.part' is not the name of a top-level module"
    )
    assert evaluator.evaluate("has_python_module:no_such", view()).reason == (
        "there is no Python module 'no_such' on this node"
    )


def test_memory_and_disk(evaluator: Evaluator, tmp_path: Path) -> None:
    assert evaluator.evaluate("min_free_memory:1KiB", view())
    assert evaluator.evaluate("min_free_memory:1000TiB", view()).reason.endswith(
        "of memory are free, and 1000.0 TiB are wanted"
    )
    assert evaluator.evaluate("min_free_disk:1B", view())
    assert evaluator.evaluate(f"min_free_disk:1B@{tmp_path}", view())
    assert "on the disk of /proc" in evaluator.evaluate("min_free_disk:1GB@/proc", view()).reason
    assert evaluator.evaluate("min_free_disk:1GB@/no/where", view()).reason == (
        "the disk of /no/where cannot be looked at: No such file or directory"
    )
    assert "'lots' is not a size such as" in evaluator.evaluate("min_free_memory:lots", view()).reason
