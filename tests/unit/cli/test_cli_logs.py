from __future__ import annotations

import io
from typing import Any

from jobrunner.cli.following import Gaps
from jobrunner.cli.logs import TextWriter
from jobrunner.persistence.output import OutputChunk


def chunk(
    text: str, position: int = 0, atom: str | None = "a", attempt: int = 1, epoch: int = 1
) -> OutputChunk:
    return OutputChunk(
        job_id="j",
        attempt=attempt,
        epoch=epoch,
        position=position,
        atom=atom,
        stream="out",
        at_ms=0,
        text=text,
    )


def written(*chunks: OutputChunk, **settings: Any) -> str:
    stream = io.StringIO()
    writer = TextWriter(stream, **settings)
    for one in chunks:
        writer.write(one)
    writer.end()
    return stream.getvalue()


def test_text_is_written_as_it_was_printed() -> None:
    assert written(chunk("one\ntw", 0), chunk("o\n", 6), chunk("three", 8, atom="b")) == "one\ntwo\nthree"


def test_escape_sequences_are_taken_out_unless_they_are_wanted() -> None:
    assert written(chunk("\x1b[31mred\x1b[0m \x1b[2J\n")) == "red \\x1b[2J\n"
    assert written(chunk("\x1b[31mred\x1b[0m\n"), raw=True) == "\x1b[31mred\x1b[0m\n"


def test_what_was_left_out_is_told_in_bytes() -> None:
    shown = written(chunk("begin", 0), chunk("end\n", 10_005))
    assert shown == "begin\n[... 10,000 bytes left out ...]\nend\n"


def test_a_new_owner_or_attempt_is_no_gap() -> None:
    assert "left out" not in written(
        chunk("a" * 50, 0), chunk("b", 0, epoch=2), chunk("c", 0, epoch=3, attempt=2)
    )
    assert "left out" in written(chunk("a", 0), chunk("b", 5, epoch=2))


def test_bytes_are_counted_not_characters() -> None:
    gaps = Gaps()
    assert gaps.before(chunk("日本", 0)) == 0
    assert gaps.before(chunk("x", 6)) == 0
    assert gaps.before(chunk("y", 8)) == 1


def test_only_one_atoms_output_has_no_gaps_where_others_spoke() -> None:
    shown = written(chunk("a1\n", 0), chunk("b1\n", 3, atom="b"), chunk("a2\n", 6), atom="a")
    assert shown == "a1\na2\n"


def test_headers_separate_atoms_and_takeovers() -> None:
    shown = written(
        chunk("one", 0), chunk("two\n", 3, atom="b"), chunk("three\n", 0, atom="b", epoch=2), headers=True
    )
    assert shown == "── a ──\none\n── b ──\ntwo\n── b, resumed ──\nthree\n"


def test_prefixes_stand_before_each_line_once() -> None:
    shown = written(chunk("one\ntw", 0), chunk("o\n", 6), chunk("x\u2028y\n", 8, atom="b"), prefix=True)
    assert shown == "a | one\na | two\nb | x\\u2028y\n"


def test_half_a_line_is_ended_before_another_atoms_prefix() -> None:
    assert written(chunk("half", 0), chunk("line\n", 4, atom="b"), prefix=True) == "a | half\nb | line\n"


def test_a_note_never_stands_in_a_line_of_output() -> None:
    stream = io.StringIO()
    writer = TextWriter(stream)
    writer.write(chunk("half"))
    writer.note("note")
    writer.write(chunk("more\n", 4))
    assert stream.getvalue() == "half\nnote\nmore\n"
