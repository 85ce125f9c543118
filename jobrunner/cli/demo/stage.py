"""Where the demo happens: a temporary directory, a store, a board, and two conductors.

Invariants: every process that is started is ended when the stage is left, however that happens; the store holds no
open job and no other conductor when it begins.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from jobrunner import times
from jobrunner.assemble import make_context
from jobrunner.cli import context as cli_context
from jobrunner.cli import output, text
from jobrunner.cli.demo.processes import Conductor, start_conductor
from jobrunner.cli.demo.source import Source
from jobrunner.config import Config, load_config
from jobrunner.errors import JobrunnerError, UsageError
from jobrunner.jobs import look
from jobrunner.jobs.context import JobContext
from jobrunner.persistence.schema import SchemaState, require_schema, schema_state, upgrade

T = TypeVar("T")

NAMES = ("demo-a", "demo-b")
LEASE_S = 2.0
POLL_S = 0.04
START_S = 60.0
"""How long the conductors may take to start on a machine that is busy with other things."""
STOP_S = 10.0
LOG_TAIL_LINES = 15


class Stage:
    """The demo's surroundings, for the time of a ``with``.

    Raises UsageError if the named store is in use, and what is wrong with the named configuration.
    """

    def __init__(self, args: argparse.Namespace, source: Source) -> None:
        self.keep: bool = args.keep
        self.conductors: list[Conductor] = []
        self._args = args
        self._source = source
        self._context: JobContext | None = None

    # -- coming and going

    def __enter__(self) -> Stage:
        self.directory = Path(tempfile.mkdtemp(prefix="jobrunner-demo-")).resolve()
        try:
            self._require_room()
            self.environment = self._settings()
            self.config = load_config(environ=self.environment).config
            self._context = make_context(self.config, need_schema=False)
            self._prepare_store(self._context)
        except BaseException:
            self._leave(seconds=0.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception):
                self._show_logs()
        finally:  # nobody may be left to read the logs
            self._leave(seconds=STOP_S if error is None else 0.0)

    @property
    def context(self) -> JobContext:
        assert self._context is not None
        return self._context

    def stop(self) -> None:
        """Ask the conductors to end, and wait until they have."""
        for conductor in self.conductors:
            conductor.ask_to_stop()
        for conductor in self.conductors:
            conductor.end(STOP_S)

    def _leave(self, *, seconds: float) -> None:
        # A second Ctrl-C must not leave processes behind; the time that this takes is bounded.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for conductor in self.conductors:
                conductor.ask_to_stop()
            for conductor in self.conductors:
                conductor.end(seconds)
            if self._context is not None:
                self._clear_board(self._context)
                self._context.close()
            if not self.keep:
                shutil.rmtree(self.directory, ignore_errors=True)
        finally:
            signal.signal(signal.SIGINT, before)

    # -- conductors

    def start_conductors(self) -> None:
        """Start both, and return when both have reported to the store."""
        for name in NAMES:
            self.conductors.append(start_conductor(name, self.directory / f"{name}.log", self.environment))
        self.wait_for(self._all_reported, START_S, "The conductors did not report.")

    def conductor(self, name: str | None) -> Conductor:
        """The conductor of this name; raises JobrunnerError if it is none of ours."""
        for conductor in self.conductors:
            if conductor.name == name:
                return conductor
        raise JobrunnerError(f"The job was claimed by {name}, which is not a conductor of the demo.")

    def wait_for(self, look_for: Callable[[], T | None], seconds: float, otherwise: str) -> T:
        """What ``look_for`` finds, when it finds it.

        Raises JobrunnerError after ``seconds``, or if all conductors died.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = look_for()
            if found is not None:
                return found
            if not any(conductor.is_alive for conductor in self.conductors):
                raise JobrunnerError(f"{otherwise} No conductor of the demo lives any more.")
            if time.monotonic() > deadline:
                raise JobrunnerError(f"{otherwise} That was waited for {seconds:g} s.")
            time.sleep(POLL_S)

    def _all_reported(self) -> bool | None:
        for conductor in self.conductors:
            if not conductor.is_alive:
                raise JobrunnerError(f"{conductor.name} ended with code {conductor.process.returncode}.")
        for node in look.nodes_known(self.context):
            for conductor in self.conductors:
                if node.identity.startswith(f"{conductor.name}:{conductor.pid}:"):
                    conductor.identity = node.identity
        return True if all(conductor.identity for conductor in self.conductors) else None

    def _show_logs(self) -> None:
        for conductor in self.conductors:
            lines = conductor.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
            output.say(
                f"the end of {conductor.name}'s log:\n" + "\n".join(f"  {text.clean(line)}" for line in lines)
            )

    # -- store and board

    def _settings(self) -> dict[str, str]:
        """The environment of the demo's processes: a configuration of its own, in a file, and URLs in variables.

        URLs may hold passwords: those do not go into a file, nor into a command line.
        """
        lines = ["[conductor]", f"lease = {LEASE_S}", "grace = 5.0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JOBRUNNER_")}
        board, store = self._urls()
        if store is None:
            lines += ["", "[persistence]", f'url = "sqlite:///{self.directory}/jobrunner.sqlite"']
        else:
            environment["JOBRUNNER_PERSISTENCE__URL"] = store
        if board is not None:
            environment["JOBRUNNER_BOARD__URL"] = board
            environment["JOBRUNNER_BOARD__PREFIX"] = f"demo-{uuid.uuid4().hex[:8]}"
        self.config_file = self.directory / "jobrunner.toml"
        self.config_file.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return {**environment, "JOBRUNNER_CONFIG": str(self.config_file)}

    def _urls(self) -> tuple[str | None, str | None]:
        """The board and the store that were named on the command line; None for the demo's own."""
        args = self._args
        if not (args.config or args.board_url or args.persistence_url):
            return None, None
        loaded = cli_context.load_config(args)
        config: Config = loaded.config
        store = config.store_url if "persistence.url" in loaded.origins else None
        board = config.board_url if "board.url" in loaded.origins else None
        return (None if board == store else board), store

    def _prepare_store(self, context: JobContext) -> None:
        if schema_state(context.database) is SchemaState.ABSENT:
            upgrade(context.database)
        require_schema(context.database)
        opened = sum(look.counts(context).values())
        now_ms = times.now_ms()
        alive = [
            node.name
            for node in look.nodes_known(context)
            if node.is_alive(now_ms) and node.name not in NAMES
        ]
        if opened or alive:
            what = f"{opened} open jobs" if opened else f"living conductors ({', '.join(alive)})"
            raise UsageError(
                f"The database {context.database.name} is in use: it has {what}.",
                hint="The demo kills a conductor, so it takes a database of its own: make an empty one and name that.",
            )

    def _clear_board(self, context: JobContext) -> None:
        """Take the demo's keys off a board that others use as well."""
        if "JOBRUNNER_BOARD__PREFIX" not in self.environment:
            return
        try:
            context.board.clear()
        except JobrunnerError as error:
            output.say(f"{error.sentence} Keys of the demo are left on it: {self.config.board.prefix}*")

    def _require_room(self) -> None:
        free = shutil.disk_usage(self.directory).free
        needed = self._source.archive_bytes * 2
        if free < needed:
            raise UsageError(
                f"The archive needs up to {needed >> 20} MiB in {self.directory.parent}, and {free >> 20} are free.",
                hint="Name a smaller directory, or set TMPDIR to a place with more room.",
            )
