"""``jobrunner logs ID``: what a job's tasks printed and logged."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from jobrunner.cli import output, text
from jobrunner.cli.context import open_context
from jobrunner.cli.options import add_json, positive
from jobrunner.cli.records import chunk_record
from jobrunner.errors import EXIT_OK

if TYPE_CHECKING:
    from jobrunner.jobs.context import JobContext
    from jobrunner.model import Job
    from jobrunner.persistence.output import OutputChunk


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("logs")
    parser.add_argument("id", metavar="ID", help="the job's id, or the start of it")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument("--attempt", type=positive, metavar="N", help="only the output of this attempt")
    parser.add_argument("--atom", metavar="NAME", help="only the output of this atom")
    parser.add_argument("-t", "--timestamps", action="store_true", help="begin each line with its time")
    parser.add_argument(
        "-p", "--prefix", action="store_true", help="begin each line with the name of its atom"
    )
    parser.add_argument("--raw", action="store_true", help="do not take colours and control characters out")
    add_json(parser, "print each piece of output as a line of JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    with open_context(args) as context:
        from jobrunner.cli.following import Follower
        from jobrunner.jobs import look

        job = look.find(context, args.id)
        writer = _writer(args)
        follower = Follower(context, job.id, on_chunk=writer.write, attempt=args.attempt)
        if args.follow:
            follower.run()
        else:
            follower.look()
        writer.end()
        if not writer.wrote and args.attempt is not None:
            look.at_attempt(context, context.store.get(job.id), args.attempt)  # raises JobNotFound
        if not writer.wrote and args.atom is not None:
            _tell_of_no_output(context, job, args.atom)
    return EXIT_OK


def _tell_of_no_output(context: JobContext, job: Job, atom: str) -> None:
    """A task that printed nothing, and a misspelt one, look alike otherwise."""
    from jobrunner.jobs import look

    names = [one.name for one in look.atoms(context, [job])[job.id]]
    if atom in names or not names:
        output.say(f"there is no output of {atom}.")
    else:
        output.say(f"there is no output of {atom}: job {job.short_id} has the tasks {', '.join(names)}.")


class JsonWriter:
    """A line of JSON for each piece."""

    def __init__(self, atom: str | None) -> None:
        self._atom = atom
        self.wrote = False

    def write(self, chunk: OutputChunk) -> None:
        if self._atom is None or chunk.atom == self._atom:
            self.wrote = True
            print(text.to_json(chunk_record(chunk), indent=None), flush=True)

    def end(self) -> None:
        """Nothing is held back."""


class TextWriter:
    """Output as it was printed, with what helps to read it where that is wanted: headers, prefixes, times, gaps."""

    def __init__(
        self,
        stream: TextIO,
        *,
        atom: str | None = None,
        headers: bool = False,
        prefix: bool = False,
        timestamps: bool = False,
        raw: bool = False,
        dim: Callable[[str], str] = str,
    ) -> None:
        from jobrunner.cli.following import Gaps

        self._stream = stream
        self._atom = atom
        self._headers = headers
        self._prefix = prefix
        self._timestamps = timestamps
        self._raw = raw
        self._dim = dim
        self._gaps = Gaps()
        self.wrote = False
        self._at_start = True
        self._last: tuple[int, int, str | None] | None = None

    def write(self, chunk: OutputChunk) -> None:
        """Write one piece; what was left out before it is told."""
        missing = self._gaps.before(chunk)
        if missing:
            self._own_line(f"[... {missing:,} bytes left out ...]")
        if self._atom is not None and chunk.atom != self._atom:
            return
        self.wrote = True
        source = (chunk.attempt, chunk.epoch, chunk.atom)
        if source != self._last:
            self._begin(source)
        shown = chunk.text if self._raw else text.clean_lines(chunk.text)
        self._stream.write(self._decorated(shown, chunk))
        if shown:
            self._at_start = shown.endswith("\n")
        self._stream.flush()

    def note(self, words: str) -> None:
        """A line that is not output, between lines of it."""
        self._end_line()
        self._stream.write(words + "\n")
        self._stream.flush()

    def end(self) -> None:
        """End the last line, on a terminal."""
        if self._headers and not self._at_start:
            self._stream.write("\n")
        self._stream.flush()

    def _begin(self, source: tuple[int, int, str | None]) -> None:
        attempt, epoch, atom = source
        before, self._last = self._last, source
        if self._headers:
            again = f", attempt {attempt}" if attempt > 1 else ""
            resumed = (
                ", resumed" if before is not None and before[0] == attempt and before[1] != epoch else ""
            )
            self._own_line(f"── {text.clean(atom or 'the job')}{again}{resumed} ──")
        elif before is not None and self._prefix:
            self._end_line()

    def _decorated(self, shown: str, chunk: OutputChunk) -> str:
        if not (self._prefix or self._timestamps):
            return shown
        mark = self._mark(chunk)
        lines = re.findall(r"[^\n]*\n|[^\n]+", shown)
        first, rest = lines[:1], lines[1:]
        begun = first if not self._at_start else [mark + line for line in first]
        return "".join([*begun, *(mark + line for line in rest)])

    def _mark(self, chunk: OutputChunk) -> str:
        when = datetime.fromtimestamp(chunk.at_ms / 1000).isoformat(sep=" ", timespec="milliseconds")
        parts = [when] if self._timestamps else []
        if self._prefix:
            parts.append(f"{text.clean(chunk.atom or 'job')} |")
        return self._dim(" ".join(parts)) + " "

    def _own_line(self, words: str) -> None:
        self._end_line()
        self._stream.write(self._dim(words) + "\n")

    def _end_line(self) -> None:
        if not self._at_start:
            self._stream.write("\n")
            self._at_start = True


def text_writer(stream: TextIO, args: argparse.Namespace) -> TextWriter:
    """The writer that the options ask for; headers are for terminals."""
    return TextWriter(
        stream,
        atom=args.atom,
        headers=output.is_terminal(stream) and not args.prefix and args.atom is None,
        prefix=args.prefix,
        timestamps=args.timestamps,
        raw=args.raw,
        dim=lambda words: output.styled(words, "dim", stream),
    )


def _writer(args: argparse.Namespace) -> TextWriter | JsonWriter:
    return JsonWriter(args.atom) if args.json else text_writer(sys.stdout, args)
