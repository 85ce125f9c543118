"""Snapshots on a terminal, drawn in place: what stood there before stays in the scrollback, as does the last frame."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator

from rich.live import Live
from rich.text import Text

from jobrunner import times
from jobrunner.cli import output
from jobrunner.cli.frame import Size, frame
from jobrunner.cli.snapshot import Snapshot, Watcher

FRAMES_PER_SECOND = 4


def watch(watcher: Watcher, *, interval: float, until_ended: bool = False) -> None:
    """Show what the watcher sees until Ctrl-C, or with ``until_ended`` until all its jobs have ended.

    This thread looks; rich's own draws, so that clocks go on while a database does not answer.

    :param interval: seconds between two looks
    """
    console = output.console()
    picture = _Picture(watcher.look())
    live = Live(
        console=console,
        get_renderable=lambda: picture.draw(console.width, console.height),
        refresh_per_second=FRAMES_PER_SECOND,
        vertical_overflow="crop",
        redirect_stdout=False,  # nothing is printed meanwhile, and the encoding is asked for
    )
    pause = threading.Event()
    with contextlib.suppress(KeyboardInterrupt), live, _log_above():
        while not (until_ended and picture.all_ended):
            pause.wait(interval)
            picture.snapshot = watcher.look()


class _Picture:
    """The latest snapshot; one thread puts it there, another draws it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @property
    def all_ended(self) -> bool:
        return self.snapshot.away is None and not self.snapshot.under_way and not self.snapshot.in_line

    def draw(self, width: int, height: int) -> Text:
        return frame(self.snapshot, now_ms=times.now_ms(), size=Size(width=width, height=max(3, height - 1)))


@contextlib.contextmanager
def _log_above() -> Iterator[None]:
    """Let what is logged meanwhile appear above the frame: rich has put its own stream in the place of stderr."""
    handlers = [one for one in logging.getLogger().handlers if type(one) is logging.StreamHandler]
    before = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            handler.setStream(stream)
