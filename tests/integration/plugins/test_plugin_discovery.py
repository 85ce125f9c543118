from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobrunner.errors import UnknownJobType
from jobrunner.plugins import PluginProblem, Registry, default_registry, load_plugins, log_problems

WritePlugin = Callable[..., Path]

JOB = """
from jobrunner import job
from taskflow.patterns import linear_flow

@job
def {name}():
    '''{text}'''
    return linear_flow.Flow("{name}")
"""


def job_source(name: str, text: str = "It does something.") -> str:
    return JOB.format(name=name, text=text)


def problem(registry: Registry, where: str) -> PluginProblem:
    (found,) = [one for one in registry.problems if where in one.where]
    return found


# Where plugins are found


def test_finds_builtin_plugins_and_capabilities(place: Path) -> None:
    registry = load_plugins()

    assert registry is default_registry
    assert registry.problems == ()
    assert registry.get_type("backup_directory").source == "builtin"
    assert registry.get_type("backup_directory").module == "flows.builtin.backup_directory.flow"
    assert registry.get_capability("port_is_free").source == "builtin"


def test_finds_plugins_in_the_working_directory(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy", "Tidy up."))
    write(place / "flows", "acme/small.py", job_source("small"))

    registry = load_plugins()

    tidy = registry.get_type("tidy")
    assert (tidy.module, tidy.package, tidy.source, tidy.description) == (
        "flows.acme.tidy.flow",
        "flows.acme.tidy",
        str(place / "flows"),
        "Tidy up.",
    )
    assert registry.get_type("small").package == registry.get_type("small").module == "flows.acme.small"
    assert registry.problems == ()


def test_finds_plugins_on_the_path_variable(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "one", "acme/first", job_source("first"))
    write(place / "two", "acme/second", job_source("second"))
    monkeypatch.setenv(
        "JOBRUNNER_FLOWS", os.pathsep.join([str(place / "one"), "", "two", str(place / "gone")])
    )

    registry = load_plugins()

    assert {"first", "second"} <= set(registry.job_types)
    assert registry.get_type("second").source == str(place / "two")
    (only,) = registry.problems
    assert (
        str(only) == f"{place}/gone: JOBRUNNER_FLOWS names this directory, and there is none that can be read"
    )


def test_a_directory_that_holds_flows_is_told_from_one_that_is_meant(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "project" / "flows", "acme/first", job_source("first"))
    monkeypatch.setenv("JOBRUNNER_FLOWS", str(place / "project"))

    message = problem(load_plugins(), "project").message
    assert "no plugins are here: they are looked for as" in message
    assert message.endswith(f"did you mean {place}/project/flows?")


def test_directories_can_be_named(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/unseen", job_source("unseen"))
    write(place / "named", "acme/seen", job_source("seen"))

    registry = load_plugins([place / "named"])

    assert "seen" in registry.job_types
    assert "unseen" not in registry.job_types
    assert "backup_directory" in registry.job_types


def test_one_directory_named_twice_is_one(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy"))
    (place / "link").symlink_to(place / "flows")
    monkeypatch.setenv("JOBRUNNER_FLOWS", os.pathsep.join(["flows", str(place / "link")]))

    assert load_plugins().problems == ()


def test_groups_and_helpers_span_directories(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root, name in ((place / "flows", "one"), (place / "more", "two")):
        write(root, "__init__.py", "raise RuntimeError('flows itself is nobody')")
        write(root, "acme/__init__.py", f"WHERE = {name!r}")
        write(root, f"acme/{name}/helpers.py", f"VALUE = {name!r}")
    write(place / "flows", "acme/one", "from flows.acme.two.helpers import VALUE\n" + job_source("one"))
    write(place / "more", "acme/two", "from flows.acme import WHERE\n" + job_source("two"))
    monkeypatch.setenv("JOBRUNNER_FLOWS", str(place / "more"))

    registry = load_plugins()

    assert registry.problems == ()
    assert sys.modules["flows.acme.one.flow"].VALUE == "two"
    assert sys.modules["flows.acme.two.flow"].WHERE == "one"
    assert importlib.import_module("flows.builtin.backup_directory.flow")


def test_tests_and_hidden_files_are_not_plugins(place: Path, write: WritePlugin) -> None:
    for name in (
        "acme/test_tidy.py",
        "acme/tidy_test.py",
        "acme/conftest.py",
        "acme/_own.py",
        "_own/tidy/flow.py",
    ):
        write(place / "flows", name, "raise RuntimeError('imported')")
    write(place / "flows", "acme/.hidden/flow.py", "raise RuntimeError('imported')")
    write(place / "flows", "acme/data/readme.py", "raise RuntimeError('imported')")

    assert load_plugins().problems == ()


class FakeEntryPoint:
    def __init__(self, name: str, value: str) -> None:
        self.name, self.value = name, value
        self.dist = type("Distribution", (), {"name": f"{name}-dist"})


def test_finds_plugins_of_installed_packages(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = place / "site"
    write(site, "acme_jobs/__init__.py", "")
    write(site, "acme_jobs/flow.py", job_source("installed"))
    write(site, "acme_broken.py", "import sys; sys.exit('go away')")
    write(site, "acme_asserts.py", "assert False")
    write(site, "acme_last.py", job_source("last"))
    points = [
        FakeEntryPoint("a", "acme_jobs.flow"),
        FakeEntryPoint("b", "acme_broken"),
        FakeEntryPoint("c", "acme_asserts"),
        FakeEntryPoint("d", "not a module"),
        FakeEntryPoint("e", "acme_missing"),
        FakeEntryPoint("f", "acme_last:last"),
    ]
    asked: list[Any] = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **group: asked.append(group) or points)
    monkeypatch.syspath_prepend(site)

    registry = load_plugins()

    assert asked == [{"group": "jobrunner.flows"}]
    installed = registry.get_type("installed")
    assert (installed.source, installed.package) == ("a-dist", "acme_jobs")
    assert registry.get_type("last").source == "f-dist"
    assert problem(registry, "acme_broken").message.startswith(
        "it called sys.exit('go away') while it was imported"
    )
    assert problem(registry, "acme_asserts").message.startswith("AssertionError")
    assert problem(registry, "acme_missing").message == "ModuleNotFoundError: No module named 'acme_missing'"
    assert problem(registry, "d").message == "its entry point d names 'not a module', which is not a module"


# Plugins that fail


BROKEN = {
    "syntax": ("def broken(:\n", "SyntaxError"),
    "missing": ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "leaves": ("raise SystemExit(3)\n", "it called sys.exit(3) while it was imported"),
    "raises": ("x = 1 / 0\n", "ZeroDivisionError: division by zero"),
    "stars": (
        "from jobrunner import job\n@job\ndef stars(*sources): ...\n",
        "PluginError: stars takes *sources, but a job's parameters are named one by one",
    ),
    "types": (
        "from __future__ import annotations\nfrom jobrunner import job\n@job\ndef types(x: Nothing): ...\n",
        "PluginError: the type of parameter 'x' of types cannot be read: 'Nothing' raised NameError",
    ),
    "empty": ("", "registers nothing: decorate its flow factory with @job"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_harms_only_itself(place: Path, write: WritePlugin, name: str) -> None:
    source, message = BROKEN[name]
    path = write(place / "flows", f"acme/{name}", source)
    write(place / "flows", "acme/healthy", job_source("healthy"))

    registry = load_plugins()

    assert "healthy" in registry.job_types
    (only,) = registry.problems
    assert only.where == f"flows.acme.{name}.flow"
    assert only.source == str(place / "flows")
    assert message in only.message
    if name != "empty":
        assert only.traceback is not None
        assert "importlib" not in only.traceback
    if name in ("missing", "raises", "syntax", "leaves"):
        assert str(path) in str(only.traceback)
    with pytest.raises(UnknownJobType) as error:
        registry.get_type(name)
    assert f"flows.acme.{name}.flow" in str(error.value.hint)


def test_what_a_plugin_registered_before_it_failed_is_withdrawn(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/half", job_source("half") + "\nraise RuntimeError('later')")

    registry = load_plugins()

    assert "half" not in registry.job_types
    assert problem(registry, "acme.half").message.startswith("RuntimeError: later (")


def test_a_group_whose_init_fails_does_not_harm_its_jobs(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/__init__.py", "raise RuntimeError('group')")
    write(place / "flows", "acme/one", job_source("one"))
    write(place / "flows", "acme/two", job_source("two"))

    registry = load_plugins()

    assert {"one", "two"} <= set(registry.job_types)
    assert [(one.where, one.message.partition(" (")[0]) for one in registry.problems] == [
        ("flows.acme", "RuntimeError: group")
    ]


def test_names_that_clash_are_told_with_both_places(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/one", job_source("tidy", "The first."))
    write(place / "flows", "acme/two", job_source("tidy", "The second."))
    write(place / "flows", "acme/three", job_source("backup_directory"))

    registry = load_plugins()

    assert registry.get_type("tidy").description == "The first."
    assert registry.get_type("backup_directory").source == "builtin"
    message = problem(registry, "acme.two").message
    assert "flows.acme.two.flow:tidy" in message
    assert "flows.acme.one.flow:tidy" in message
    assert "give one of them another name" in message
    assert "because flows.builtin.backup_directory.flow" in problem(registry, "acme.three").message


def test_a_plugin_that_hides_another_is_told(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy", "Mine."))
    write(place / "more", "acme/tidy", job_source("tidy", "Other."))
    write(place / "more", "builtin/run_command", "raise RuntimeError('must not run')")
    monkeypatch.setenv("JOBRUNNER_FLOWS", str(place / "more"))

    registry = load_plugins()

    assert registry.get_type("tidy").description == "Mine."
    assert problem(registry, "flows.acme.tidy").message == (
        f"{place}/more/acme/tidy/flow.py is left out, "
        f"because {place}/flows/acme/tidy/flow.py is flows.acme.tidy already"
    )
    assert "is left out" in problem(registry, "flows.builtin.run_command").message


def test_names_that_python_cannot_import_are_told(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/tidy-up", job_source("tidy"))

    message = problem(load_plugins(), "tidy-up").message
    assert message == "flows.acme.tidy-up cannot be imported: use letters, digits and '_' in names of plugins"


def test_plugins_cannot_write_to_stdout_while_they_are_imported(
    place: Path, write: WritePlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        place / "flows",
        "acme/chatty",
        "print('hello')\nimport sys; sys.stdout.write('there')\n" + job_source("chatty"),
    )

    load_plugins()

    out, err = capsys.readouterr()
    assert out == ""
    assert "hello\nthere" in err


def test_other_threads_keep_their_stdout_while_plugins_are_imported(
    place: Path, write: WritePlugin, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (
        "import threading\nt = threading.Thread(target=print, args=('from a job',))\nt.start(); t.join()\n"
    )
    write(place / "flows", "acme/threads", source + job_source("threads"))

    load_plugins()

    assert capsys.readouterr().out == "from a job\n"


def test_problems_can_be_logged(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/raises", "x = 1 / 0\n")
    lines: list[str] = []

    log_problems(load_plugins(), lambda message, *args: lines.append(message % args))

    (line,) = lines
    assert line.startswith("plugin flows.acme.raises.flow: ZeroDivisionError: division by zero (")
    assert "x = 1 / 0" in line


# Loading again


def test_loading_again_does_nothing(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy"))
    first = load_plugins().get_type("tidy")
    write(place / "flows", "acme/tidy", job_source("tidy", "Changed."))

    assert load_plugins().get_type("tidy") is first


def test_reloading_reads_changes_and_leaves_what_is_in_use_alone(place: Path, write: WritePlugin) -> None:
    helper = write(place / "flows", "acme/tidy/helper.py", "TEXT = 'old'")
    source = "from flows.acme.tidy.helper import TEXT\n" + job_source("tidy", "Old.")
    write(place / "flows", "acme/tidy", source + "def text(): return TEXT\n")
    write(place / "flows", "acme/goes", job_source("goes"))
    registry = load_plugins()
    in_use = registry.get_type("tidy")
    old_text = sys.modules["flows.acme.tidy.flow"].text

    helper.write_text("TEXT = 'brand new'")
    write(place / "flows", "acme/tidy", source.replace("Old.", "Quite new.") + "def text(): return TEXT\n")
    (place / "flows" / "acme" / "goes" / "flow.py").unlink()
    write(place / "flows", "acme/comes", job_source("comes"))
    assert load_plugins(reload=True) is registry

    assert registry.get_type("tidy").description == "Quite new."
    assert sys.modules["flows.acme.tidy.flow"].text() == "brand new"
    assert "goes" not in registry.job_types
    assert "comes" in registry.job_types
    assert in_use.description == "Old."
    assert in_use.build({}).name == "tidy"
    assert old_text() == "old"


def test_reloading_mends_and_breaks(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/one", "oops")
    write(place / "flows", "acme/two", job_source("two"))
    assert "one" not in load_plugins().job_types

    write(place / "flows", "acme/one", job_source("one"))
    write(place / "flows", "acme/two", "oops")
    registry = load_plugins(reload=True)

    assert "one" in registry.job_types
    assert "two" not in registry.job_types
    assert [one.where for one in registry.problems] == ["flows.acme.two.flow"]


def test_the_registry_changes_only_when_loading_has_ended(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy"))
    registry = load_plugins()
    seen: list[set[str]] = []
    sys.modules["spy"] = type(sys)("spy")
    sys.modules["spy"].look = lambda: seen.append(set(registry.job_types))  # type: ignore[attr-defined]
    try:
        write(place / "flows", "acme/zlast", "import spy; spy.look()\n" + job_source("zlast"))
        load_plugins(reload=True)
    finally:
        del sys.modules["spy"]

    assert "tidy" in seen[0]
    assert "zlast" not in seen[0]
    assert {"tidy", "zlast"} <= set(registry.job_types)


def test_an_interrupted_reload_changes_nothing(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy"))
    registry = load_plugins()
    before, module = registry.get_type("tidy"), sys.modules["flows.acme.tidy.flow"]
    write(place / "flows", "acme/slow", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        load_plugins(reload=True)

    assert registry.get_type("tidy") is before
    assert sys.modules["flows.acme.tidy.flow"] is module


def test_another_place_is_loaded_anew(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "a" / "flows", "acme/tidy", job_source("tidy", "A."))
    write(place / "b" / "flows", "acme/tidy", job_source("tidy", "B."))
    monkeypatch.chdir(place / "a")
    assert load_plugins().get_type("tidy").description == "A."
    monkeypatch.chdir(place / "b")
    assert load_plugins().get_type("tidy").description == "B."


def test_after_a_reset_plugins_are_imported_anew(place: Path, write: WritePlugin) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy"))
    load_plugins()
    default_registry.reset()
    assert not default_registry.job_types

    assert "tidy" in load_plugins().job_types


def test_what_was_imported_before_is_kept(
    place: Path, write: WritePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "flows", "acme/tidy", job_source("tidy"))
    monkeypatch.syspath_prepend(place)
    early = importlib.import_module("flows.acme.tidy.flow")

    registry = load_plugins()

    assert sys.modules["flows.acme.tidy.flow"] is early
    assert registry.get_type("tidy").factory is early.tidy
    assert registry.get_type("tidy").source == str(place / "flows")
    assert importlib.import_module("flows.builtin.run_command.flow")


def test_several_threads_load_once(place: Path, write: WritePlugin) -> None:
    count = "import builtins\nbuiltins.times = getattr(builtins, 'times', 0) + 1\n"
    write(place / "flows", "acme/tidy", count + job_source("tidy"))
    threads = [threading.Thread(target=load_plugins) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    import builtins

    times = vars(builtins).pop("times")
    assert times == 1


def test_discovery_needs_neither_engines_nor_pydantic(tmp_path: Path, write: WritePlugin) -> None:
    write(tmp_path / "flows", "acme/tidy", job_source("tidy").replace("def tidy()", "def tidy(x: int = 1)"))
    program = (
        "import sys, argparse; from jobrunner.plugins import load_plugins; r = load_plugins();"
        "r.get_type('tidy').parameters.add_options(p := argparse.ArgumentParser()); p.format_help();"
        "print([m for m in ('pydantic', 'taskflow.engines', 'sqlalchemy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"
