"""``python -m jobrunner``."""

from __future__ import annotations

import sys

from jobrunner.cli.main import entry

if __name__ == "__main__":
    sys.exit(entry())
