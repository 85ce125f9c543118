"""What tasks print and log is kept with their jobs."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections import defaultdict

from jobrunner.jobs import look
from jobrunner.persistence.output import OutputChunk
from tests.support.conductors import Cluster


def output(cluster: Cluster, job_id: str) -> list[OutputChunk]:
    return list(look.read_output(cluster.context, cluster.job(job_id)))


def test_jobs_that_run_at_once_in_one_process_are_kept_apart(networked: Cluster) -> None:
    networked.start()
    ids = {word: networked.post("talk", word=word, lines=30) for word in ("red", "green", "blue", "grey")}
    networked.succeeded(*ids.values())
    for word, job_id in ids.items():
        by_place: dict[tuple[str | None, str], str] = defaultdict(str)
        for chunk in output(networked, job_id):
            by_place[(chunk.atom, chunk.stream)] += chunk.text
        for atom in ("first", "second"):
            out = [f"out {word} {atom} {number}" for number in range(30)] + [f"no newline {word}"]
            assert by_place[(atom, "out")].splitlines() == out
            assert by_place[(atom, "err")].splitlines() == [
                f"err {word} {atom} {number}" for number in range(30)
            ]
            logged = re.findall(r"log \w+ \w+ (\d+)", by_place[(atom, "log")])
            assert logged == [str(number) for number in range(30)]
        assert set(by_place) == {(atom, s) for atom in ("first", "second") for s in ("out", "err", "log")}


def test_what_an_atom_says_on_its_streams_keeps_its_order(embedded: Cluster) -> None:
    embedded.start()
    job_id = embedded.post("talk", word="red", lines=20)
    embedded.succeeded(job_id)
    text = "".join(chunk.text for chunk in output(embedded, job_id) if chunk.atom == "first")
    said = [
        line.split()[0] for line in text.replace("INFO talk.red: ", "").splitlines() if "newline" not in line
    ]
    assert said == ["out", "err", "log"] * 20
    positions = [chunk.position for chunk in output(embedded, job_id)]
    assert positions == sorted(positions)


def test_what_was_said_a_moment_before_the_process_died_is_there(both: Cluster) -> None:
    both.start(conductor__lease=30)
    job_id = both.post("talk", word="red", lines=5, gate=both.gate())
    both.until(
        lambda: "no newline" in "".join(c.text for c in output(both, job_id) if c.atom == "second"),
        "it is written while the task goes on",
        within=5,
    )
    [pid] = {int(re.findall(r":(\d+):", both.job(job_id).owner or "")[0])}
    worker = both.conductors[0].workers()[0].pid
    assert pid == both.conductors[0].process.pid
    os.kill(worker, signal.SIGKILL)
    both.open(both.gate())
    both.succeeded(job_id)
    epochs = [chunk.epoch for chunk in output(both, job_id)]
    assert sorted(set(epochs)) == [1, 2]
    before = "".join(chunk.text for chunk in output(both, job_id) if chunk.epoch == 1)
    assert "out red first 4" in before
    assert "no newline red" in before


def test_a_flood_is_bounded_with_its_head_and_tail_kept(embedded: Cluster) -> None:
    embedded.start(output__limit_bytes=1024 * 1024)
    job_id = embedded.post("flood", lines=60_000)  # 3.6 MB
    embedded.succeeded(job_id)
    chunks = output(embedded, job_id)
    text = "".join(chunk.text for chunk in chunks)
    assert len(text) <= 1.1 * 1024 * 1024
    numbers = [int(line[:8]) for line in text.splitlines() if re.match(r"\d{8} x", line)]
    assert numbers[:8000] == list(range(8000))
    assert numbers[-4000:] == list(range(56_000, 60_000))
    gaps = [b.position - a.position - a.size for a, b in itertools.pairwise(chunks)]
    assert sum(gap > 0 for gap in gaps) == 1  # where it says what was left out


def test_printing_does_not_hold_up_the_job(networked: Cluster) -> None:
    networked.start()
    job_id = networked.post("flood", lines=200_000)
    networked.succeeded(job_id)
    seconds = networked.job(job_id).result["seconds"]
    assert seconds < 6.0  # 30 microseconds a line, on a busy machine


def test_text_that_databases_dislike_is_kept(anywhere: Cluster) -> None:
    anywhere.start()
    job_id = anywhere.post("odd_words")
    anywhere.succeeded(job_id)
    text = "".join(chunk.text for chunk in output(anywhere, job_id))
    assert "é 漢 \U0001f600" in text
    assert "nul \\0 end" in text
    assert "lone ? surrogate" in text
    assert len(text) > 300_000  # one print of a line that is longer than any chunk
