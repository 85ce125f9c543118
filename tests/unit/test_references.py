"""References to results: what is one, what it leads to, and what people are told where it leads nowhere."""

from __future__ import annotations

import pytest

from jobrunner.errors import InvalidParameters
from jobrunner.references import Reference, has_references, part_of, read, references, replaced

RESULT = {"port": 8080, "a.b": 1, "a": {"b": 2, "c": [10, {"d": 20}]}, "empty": None}


def test_a_reference_survives_its_json() -> None:
    for reference in (Reference("id", "a.b"), Reference(3), Reference(0, "x")):
        assert read(reference.to_json()) == reference


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"result": "x"}, {"path": "x"}])
def test_other_values_are_none(value: object) -> None:
    assert read(value) is None
    assert not has_references(value)


@pytest.mark.parametrize(
    "value",
    [
        {"$result": 1.5},
        {"$result": True},
        {"$result": None},
        {"$result": "x", "path": 1},
        {"$result": "x", "y": 1},
    ],
)
def test_what_means_to_be_one_and_is_not_is_refused(value: object) -> None:
    with pytest.raises(InvalidParameters, match="no reference to a result"):
        has_references({"deep": [value]})


def test_they_are_found_and_replaced_wherever_they_stand() -> None:
    value = {"a": [{"$result": 0}, {"b": {"$result": "x", "path": "p"}}], "c": ({"$result": 1},), "d": 1}
    assert list(references(value)) == [Reference(0), Reference("x", "p"), Reference(1)]
    made = replaced(value, lambda found: f"<{found.job}>")
    assert made == {"a": ["<0>", {"b": "<x>"}], "c": ["<1>"], "d": 1}


@pytest.mark.parametrize(
    ("path", "part"),
    [("", RESULT), ("port", 8080), ("a.b", 1), ("a.c.0", 10), ("a.c.1.d", 20), ("empty", None)],
)
def test_a_path_leads_to_a_part(path: str, part: object) -> None:
    assert part_of(RESULT, path) == part


@pytest.mark.parametrize(
    ("result", "path", "words"),
    [
        (RESULT, "prot", r"has no part 'prot'; it has port, a\.b, a, empty"),
        (RESULT, "a.c.2", "has no part '2'; it is a list of 2"),
        (RESULT, "port.x", "has no part 'x'; it is 8080"),
        (None, "x", "has no part 'x'; it is empty"),
        ({}, "x", "it is empty"),
        ({str(n): n for n in range(20)}, "x", r"it has 0, .*, 9, \.\.\."),
        ({"x": "(70,000 bytes: see the atom's result)"}, "x", "too large to be kept with the job"),
    ],
)
def test_a_path_that_leads_nowhere_says_why(result: object, path: str, words: str) -> None:
    with pytest.raises(LookupError, match=words):
        part_of(result, path)
