"""``jobrunner`` and ``python -m jobrunner``: how the command line begins."""

from __future__ import annotations

import os
import signal
import sys

EXIT_INTERRUPTED = 130
"""As in errors.py, which is not imported yet when it is needed here."""


def entry() -> int:
    """Run the command line; the exit code. Ctrl-C ends it without a traceback while it is still being imported, too."""
    # Python's own handler raises wherever the import happens to be, and what the import system or a C extension makes
    # of that is not ours to say. Who was started with SIGINT ignored, as by nohup, goes on ignoring it.
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    from jobrunner.cli.main import entry as run

    try:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(entry())
