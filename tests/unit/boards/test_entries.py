"""Entries and classes as text, and what is refused as such."""

from __future__ import annotations

import pytest

from jobrunner.boards.entries import class_of, to_entry, to_text
from jobrunner.boards.sql_line import LONGEST_KEY, line_key
from jobrunner.model import BoardEntry, JobClass, Priority


def test_an_entry_is_read_back_as_it_was() -> None:
    job_class = JobClass(type="büro", node='"n"', capabilities=("a:b", "c"))
    entry = BoardEntry(
        job_id="x", job_class=job_class, priority=Priority.HIGH, posted_ms=1_700_000_000_123, available_ms=5
    )
    assert to_entry("x", to_text(entry)) == entry


@pytest.mark.parametrize(
    "text",
    [
        *("", "garbage", "null", "[]", "{}", '{"class":"x"}', "[" * 100_000),
        '{"class":"[\\"t\\",null,[]]","priority":99,"posted_ms":1,"available_ms":1,"score":1}',
        '{"class":"[\\"t\\",null,[]]","priority":1,"posted_ms":1e999,"available_ms":1,"score":1}',
        '{"class":null,"priority":1,"posted_ms":1,"available_ms":1,"score":1}',
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_entry("x", text)


@pytest.mark.parametrize(
    "key", ["", "x", "7", "null", "[]", '["t",7,[]]', '["t",null,[[]]]', '["t",null,"x"]', "[" * 100_000]
)
def test_what_is_no_class_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        class_of(key)


def test_a_key_that_is_too_long_is_cut_and_stays_unique() -> None:
    classes = [JobClass(type="t" * 300 + str(n)) for n in range(3)]
    keys = {line_key(job_class) for job_class in classes}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {LONGEST_KEY}
    assert line_key(JobClass(type="t")) == JobClass(type="t").key
