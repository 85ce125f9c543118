from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field, SecretBytes

from jobrunner.errors import InvalidParameters, PluginError, PostingTooLarge
from jobrunner.plugins import ParameterSet

if TYPE_CHECKING:
    from nowhere import Flow


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Place(enum.Enum):
    HERE = (0, 0)
    THERE = (1, 2)


class Target(BaseModel):
    host: str
    port: int = 22
    tags: list[str] = []


@dataclasses.dataclass
class Box:
    width: int


def takes(annotation: Any, default: Any = ...) -> ParameterSet:
    """The parameters of a factory that takes ``x`` of that type."""

    def factory(x): ...  # type: ignore[no-untyped-def]

    factory.__annotations__["x"] = annotation
    if default is not ...:
        factory.__defaults__ = (default,)
    return ParameterSet.from_factory(factory, owner="tidy")


def stored(parameters: ParameterSet, raw: Any) -> Any:
    return parameters.validate({"x": raw})["x"]


UTC = timezone.utc

VALUES: list[tuple[Any, Any, Any, Any]] = [
    # annotation, raw, stored JSON, typed value
    (str, "text\nwith\ttabs and ünïcödé", "text\nwith\ttabs and ünïcödé", "text\nwith\ttabs and ünïcödé"),
    (int, "8080", 8080, 8080),
    (int, 2**80, 2**80, 2**80),
    (float, "1.5", 1.5, 1.5),
    (float, 2, 2.0, 2.0),
    (bool, True, True, True),
    (bool, "no", False, False),
    (Color, "red", "red", Color.RED),
    (Color, "GREEN", "green", Color.GREEN),
    (Color, Color.RED, "red", Color.RED),
    (Level, "2", 2, Level.HIGH),
    (Level, 1, 1, Level.LOW),
    (Level, "LOW", 1, Level.LOW),
    (Place, "THERE", "THERE", Place.THERE),
    (Literal["fast", "slow"], "slow", "slow", "slow"),
    (Literal[1, 2, "all"], "2", 2, 2),
    (Path, "/srv/data", "/srv/data", Path("/srv/data")),
    (Path, Path("a/b"), "a/b", Path("a/b")),
    (datetime, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    (
        datetime,
        "2026-01-31T12:00:00+01:00",
        "2026-01-31T12:00:00+01:00",
        datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=1))),
    ),
    (timedelta, "1h30m", "PT1H30M", timedelta(hours=1, minutes=30)),
    (timedelta, 90, "PT1M30S", timedelta(seconds=90)),
    (timedelta, "PT2H", "PT2H", timedelta(hours=2)),
    (list[int], ["1", 2], [1, 2], [1, 2]),
    (list[Path], ["/a"], ["/a"], [Path("/a")]),
    (list[timedelta], ["2h"], ["PT2H"], [timedelta(hours=2)]),
    (list[Color], ["RED"], ["red"], [Color.RED]),
    (list, [1, "a", None], [1, "a", None], [1, "a", None]),
    (Sequence[str], ["a"], ["a"], ["a"]),
    (set[str], ["b", "a", "b"], ["a", "b"], {"a", "b"}),
    (tuple[int, ...], [1, 2], [1, 2], (1, 2)),
    (Optional[int], None, None, None),  # noqa: UP045 - both ways of writing it
    (int | None, "3", 3, 3),
    (timedelta | None, "2h", "PT2H", timedelta(hours=2)),
    (int | str, "5", "5", "5"),
    (int | str, 5, 5, 5),
    (int | timedelta, "2h", "PT2H", timedelta(hours=2)),
    (dict[str, int], {"a": "1"}, {"a": 1}, {"a": 1}),
    (dict[str, timedelta], {"a": "2m"}, {"a": "PT2M"}, {"a": timedelta(minutes=2)}),
    (Any, {"a": [1, None, 2.5]}, {"a": [1, None, 2.5]}, {"a": [1, None, 2.5]}),
    (
        Target,
        {"host": "h", "port": "2222"},
        {"host": "h", "port": 2222, "tags": []},
        Target(host="h", port=2222),
    ),
    (Target, Target(host="h"), {"host": "h", "port": 22, "tags": []}, Target(host="h")),
    (list[Target], [{"host": "h"}], [{"host": "h", "port": 22, "tags": []}], [Target(host="h")]),
    (Box, {"width": 3}, {"width": 3}, Box(3)),
    (Annotated[int, Field(gt=0)], "1", 1, 1),
]


@pytest.mark.parametrize(("annotation", "raw", "as_stored", "typed"), VALUES, ids=range(len(VALUES)))
def test_values_are_stored_as_json_and_come_back_typed(
    annotation: Any, raw: Any, as_stored: Any, typed: Any
) -> None:
    parameters = takes(annotation)

    validated = parameters.validate({"x": raw})
    assert validated == {"x": as_stored}
    through_json = json.loads(json.dumps(validated))
    decoded = parameters.decode(through_json)["x"]

    assert decoded == typed
    assert type(decoded) is type(typed)
    assert parameters.validate(through_json) == validated


REFUSED: list[tuple[Any, Any, str]] = [
    (int, "abc", "parameter 'x' is 'abc', but has to be a whole number$"),
    (int, True, r"parameter 'x' is True, but has to be a whole number \(true and false are not numbers\)"),
    (int, None, "parameter 'x' is None, but has to be a whole number"),
    (int, 1.5, "a whole number"),
    (str, 5, "parameter 'x' is 5, but has to be text"),
    (str, "a\x00b", r"parameter 'x' has the character U\+0000 at position 2: control characters"),
    (str, "a\udcff", r"parameter 'x' has the character U\+DCFF at position 2: it is not valid UTF-8"),
    (str, "a\x1bb", r"U\+001B"),
    (str, "\ud800", r"U\+D800"),
    (list[str], ["ok", "\x07"], r"U\+0007"),
    (dict[str, str], {"a\x00": ""}, r"U\+0000"),
    (Path, "a\x00", r"U\+0000"),
    (dict[str, Any], {1: 2}, "parameter 'x' has the key 1: keys have to be text"),
    (bool, "maybe", "parameter 'x' is 'maybe', but has to be true or false"),
    (float, "nan", "a number"),
    (float, math.inf, "parameter 'x' holds inf, which JSON cannot"),
    (float, "inf", "a number"),
    (dict[str, Any], {"deep": [math.nan]}, "holds nan, which JSON cannot"),
    (Color, "blue", "parameter 'x' is 'blue', but has to be one of red, green"),
    (Literal["fast", "slow"], "medium", "but has to be one of fast, slow"),
    (datetime, "tomorrow", "but has to be a time such as 2026-01-31T12:00 "),
    (timedelta, "soon", r"'soon', but has to be a duration such as 90s.*"),
    (
        list[int],
        ["1", "b"],
        r"but has to be a list, each item a whole number \(1: Input should be a valid integer",
    ),
    (list[int], 5, "but has to be a list, each item a whole number"),
    (Target, {"port": 1}, r"has to be a JSON object of type Target \(host: Field required\)"),
    (Target, {"host": 1, "port": "x"}, r"\(host: .*; port: "),
    (Annotated[int, Field(gt=0)], 0, r"\(Input should be greater than 0\)"),
    (Any, object(), "parameter 'x' cannot be stored as JSON"),
]


@pytest.mark.parametrize(("annotation", "raw", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refusals_name_the_parameter_the_value_and_what_is_expected(
    annotation: Any, raw: Any, message: str
) -> None:
    with pytest.raises(InvalidParameters, match=message):
        takes(annotation).validate({"x": raw})


def test_long_values_are_shown_shortened() -> None:
    with pytest.raises(InvalidParameters) as error:
        takes(int).validate({"x": "9" * 300 + "x"})

    assert "'999" in error.value.message
    assert "... (303 characters)" in error.value.message
    assert len(error.value.message) < 150


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_nesting_is_limited() -> None:
    assert stored(takes(Any), nested(32)) == nested(32)
    for depth in (33, 100_000):
        with pytest.raises(InvalidParameters, match="parameter 'x' is nested deeper than 32 levels"):
            takes(Any).validate({"x": nested(depth)})
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidParameters, match="nested deeper than 32 levels"):
        takes(Any).validate({"x": circle})


def test_size_is_limited_in_all() -> None:
    fits = "ü" * 131_000
    assert stored(takes(str), fits) == fits
    with pytest.raises(
        PostingTooLarge, match=r"tidy would take 262,\d+ bytes, and the limit is 262,144 bytes"
    ) as error:
        takes(str).validate({"x": "ü" * 131_072})
    assert "post its path" in str(error.value.hint)


def test_all_that_is_wrong_is_told_at_once() -> None:
    def factory(source: Path, keep: int, mode: str = "fast") -> None: ...

    with pytest.raises(InvalidParameters) as error:
        ParameterSet.from_factory(factory, owner="tidy").validate({"sorce": "/a", "keep": "x"})

    assert error.value.message.splitlines() == [
        "tidy has no parameter 'sorce': did you mean 'source'?",
        "parameter 'source' is missing: it has to be a path",
        "parameter 'keep' is 'x', but has to be a whole number",
    ]
    assert error.value.hint == "`jobrunner post tidy --help` tells what it takes"


def test_unknown_parameters_of_a_type_without_any() -> None:
    with pytest.raises(InvalidParameters, match="tidy has no parameter 'x'; it has none at all"):
        ParameterSet.from_factory(lambda: None, owner="tidy").validate({"x": 1})


def test_defaults_are_stored() -> None:
    def factory(
        color: Color = Color.RED, wait: timedelta = timedelta(hours=2), note: str | None = None
    ) -> None: ...

    parameters = ParameterSet.from_factory(factory)
    assert parameters.validate({}) == {"color": "red", "wait": "PT2H", "note": None}
    assert parameters.decode({}) == {"color": Color.RED, "wait": timedelta(hours=2), "note": None}


def test_a_default_of_none_makes_a_parameter_optional() -> None:
    assert stored(takes(int, None), None) is None
    assert takes(int, None).decode({"x": None}) == {"x": None}


def test_a_default_that_does_not_fit_is_the_plugins_fault() -> None:
    with pytest.raises(
        PluginError, match=r"the default of parameter 'x' of tidy: .*'many', but has to be a whole number"
    ):
        takes(int, "many").validate({})


@pytest.mark.parametrize(
    ("default", "raw", "expected"),
    [
        (5, "6", 6),
        (0.5, "1", 1.0),
        (True, "no", False),
        ("a", "b", "b"),
        (Path("/a"), "/b", "/b"),
        (Color.RED, "GREEN", "green"),
        (timedelta(1), "2h", "PT2H"),
        ([1], ["2"], [2]),
        ([], ["2"], ["2"]),
        ({"a": 1}, {"b": [2]}, {"b": [2]}),
        (None, "text", "text"),
    ],
)
def test_parameters_without_annotation_have_their_defaults_type(
    default: Any, raw: Any, expected: Any
) -> None:
    def factory(x=default): ...  # type: ignore[no-untyped-def]

    parameters = ParameterSet.from_factory(factory)
    assert stored(parameters, raw) == expected


def test_parameters_with_nothing_at_all_are_text() -> None:
    def factory(x): ...  # type: ignore[no-untyped-def]

    assert stored(ParameterSet.from_factory(factory), "5") == "5"


def test_naive_times_are_local_and_stored_with_their_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    text = stored(takes(datetime), "2026-07-01T12:00:00")

    local = datetime(2026, 7, 1, 12).astimezone()
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) == local
    assert text.endswith("Z") or text[-6] in "+-"


def test_the_same_set_is_the_same_json() -> None:
    words = [f"w{number}" for number in range(50)]
    assert stored(takes(set[str]), words) == stored(takes(frozenset[str]), reversed(words)) == sorted(words)


def test_types_that_cannot_be_read_are_the_plugins_fault() -> None:
    def factory(x: Flow) -> None: ...

    with pytest.raises(
        PluginError, match=r"the type of parameter 'x' of .*factory cannot be read: 'Flow' raised NameError"
    ):
        ParameterSet.from_factory(factory)


def test_only_the_types_of_parameters_are_read() -> None:
    def factory(x: int) -> Flow: ...

    assert stored(ParameterSet.from_factory(factory), "5") == 5


def test_types_that_pydantic_does_not_know_are_the_plugins_fault() -> None:
    class Strange: ...

    with pytest.raises(
        PluginError, match=r"parameter 'x' of tidy has the type .*Strange.*, which cannot be a parameter's"
    ):
        takes(Strange).validate({"x": 1})


def test_values_that_do_not_survive_storing_are_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match=r"parameter 'x' of tidy .*is not the same after it was stored"):
        takes(SecretBytes).validate({"x": "secret"})


def test_stored_parameters_that_do_not_fit_any_more() -> None:
    def factory(new: int, added: str = "default") -> None: ...

    parameters = ParameterSet.from_factory(factory, owner="tidy")
    assert parameters.decode({"new": 1}) == {"new": 1, "added": "default"}
    assert parameters.complete({"new": 1}) == {"new": 1, "added": "default"}
    with pytest.raises(InvalidParameters, match=r"tidy has no parameter 'old'.*\nparameter 'new' is missing"):
        parameters.decode({"old": 1})


def test_json_schema() -> None:
    def factory(target: Target, other: Target, color: Color = Color.RED, keep: int = 3) -> None:
        """Tidy.

        Args:
            keep: how many
        """

    schema = ParameterSet.from_factory(factory, owner="tidy").json_schema()

    assert schema["title"] == "tidy"
    assert schema["required"] == ["target", "other"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["keep"] == {"type": "integer", "description": "how many", "default": 3}
    assert schema["properties"]["color"]["default"] == "red"
    assert schema["properties"]["target"] == {"$ref": "#/$defs/Target"}
    assert schema["$defs"]["Target"]["properties"]["port"]["default"] == 22
    json.dumps(schema)


# As options of the command line


def parse(parameters: ParameterSet, *args: str, reserved: Sequence[str] = ()) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parameters.add_options(parser, reserved)
    return parameters.validate(parameters.from_namespace(parser.parse_args(args)))


def help_of(factory: Callable[..., Any], reserved: Sequence[str] = ()) -> str:
    parser = argparse.ArgumentParser(
        prog="p", formatter_class=lambda prog: argparse.HelpFormatter(prog, width=200)
    )
    ParameterSet.from_factory(factory).add_options(parser, reserved)
    return parser.format_help()


def test_options_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def factory(
        source_dir: Path,
        keep: int = 7,
        verbose_output: bool = False,
        color: Color = Color.RED,
        mode: Literal["fast", "slow"] = "fast",
        wait_for: timedelta = timedelta(0),
        names: list[str] | None = None,
        target: Target | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None: ...

    monkeypatch.chdir(tmp_path)
    (tmp_path / "extra.json").write_text('{"a": [1]}')
    line = (
        "--source-dir sub --keep 3 --verbose-output --color GREEN --mode slow --wait-for 2h --names a b --names c "
        '--target {"host":"h"} --extra @extra.json'
    )
    assert parse(ParameterSet.from_factory(factory), *line.split()) == {
        "source_dir": str(tmp_path / "sub"),
        "keep": 3,
        "verbose_output": True,
        "color": "green",
        "mode": "slow",
        "wait_for": "PT2H",
        "names": ["a", "b", "c"],
        "target": {"host": "h", "port": 22, "tags": []},
        "extra": {"a": [1]},
    }
    assert parse(ParameterSet.from_factory(factory), "--source-dir", "/x", "--no-verbose-output")["keep"] == 7


def test_relative_paths_are_the_posters_and_defaults_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(one: Path = Path("here"), two: list[Path] | None = None) -> None: ...

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    parameters = ParameterSet.from_factory(factory)
    assert parse(parameters, "--two", "a", "~/b") == {
        "one": "here",
        "two": [str(tmp_path / "a"), "/home/me/b"],
    }


def test_options_without_default_are_required() -> None:
    parser = argparse.ArgumentParser()
    takes(int).add_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([])


def test_choices_are_checked_by_the_parser() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    takes(Color).add_options(parser)
    with pytest.raises(argparse.ArgumentError, match="invalid choice: 'blue'"):
        parser.parse_args(["--x", "blue"])


def test_reserved_names_get_a_prefix() -> None:
    def factory(wait: int = 0, help: bool = False, no_cache: int = 0, cache: bool = True) -> None: ...

    parameters = ParameterSet.from_factory(factory)
    given = parse(
        parameters,
        *["--param-wait", "3", "--param-help", "--no-cache", "4", "--no-param-cache"],
        reserved={"--wait", "key"},
    )
    assert given == {"wait": 3, "help": True, "no_cache": 4, "cache": False}


def test_a_single_list_of_text_may_stand_behind_the_options() -> None:
    def factory(command: list[str], timeout: int = 5) -> None: ...

    parameters = ParameterSet.from_factory(factory)
    assert parse(parameters, "--timeout", "1", "--", "ls", "-la") == {"command": ["ls", "-la"], "timeout": 1}
    assert parse(parameters, "ls", "/")["command"] == ["ls", "/"]
    assert parse(parameters, "--command", "ls", "--command=-la")["command"] == ["ls", "-la"]
    with pytest.raises(InvalidParameters, match="parameter 'command' is missing"):
        parse(parameters)
    with pytest.raises(InvalidParameters, match="'command' is given twice, as an option and without one"):
        parse(parameters, "--command", "ls", "--", "rm")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"parameter 'x': the text is not JSON: .*line 1 column 2.*it was '\{'"),
        ("[" * 100_000, "is not JSON: it is nested too deeply"),
        ("@missing.json", "parameter 'x': missing.json cannot be read: No such file"),
        ("@big.json", r"parameter 'x' would take 300,000 bytes, and the limit is 262,144"),
        ("@binary.json", "parameter 'x': binary.json is not UTF-8 text"),
        ("@bad.json", "parameter 'x': bad.json is not JSON"),
    ],
    ids=lambda text: text[:15],
)
def test_documents_that_cannot_be_read(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("big.json").write_text(" " * 300_000)
    Path("binary.json").write_bytes(b"\xff\xfe\x00")
    Path("bad.json").write_text("nope")
    with pytest.raises(InvalidParameters, match=message):
        parse(takes(dict[str, Any]), "--x", text)


def test_files_are_only_read_for_the_command_line() -> None:
    with pytest.raises(InvalidParameters, match="'@/etc/passwd', but has to be a JSON object"):
        takes(dict[str, Any]).validate({"x": "@/etc/passwd"})


def test_help_tells_what_there_is_to_know() -> None:
    def factory(
        source: Path,
        share: int = 50,
        color: Color = Color.RED,
        each: timedelta = timedelta(hours=2),
        deep: bool = True,
        target: Target | None = None,
        names: list[str] = ["a", "b"],  # noqa: B006
    ) -> None:
        """Tidy up.

        Args:
            source: where to look
            share: 100% is all
        """

    text = " ".join(help_of(factory).split())
    assert "--source PATH where to look (required)" in text
    assert "--share NUMBER 100% is all (default: 50)" in text
    assert "--color {red,green} one of red, green (default: red)" in text
    assert (
        "a duration such as 90s, 10m, 2h, 1d, 1h30m or PT2H (a plain number is seconds) (default: 2h)" in text
    )
    assert "--deep, --no-deep true or false (default: yes)" in text
    assert "a JSON object of type Target, or @FILE to read it from a file" in text
    assert "(default: a b)" in text
