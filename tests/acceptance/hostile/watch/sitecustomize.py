"""Python imports this at its start if its directory is on PYTHONPATH: from then on every use of pickle leaves a line.

What unpickles a class or function raises an audit event, whoever's unpickler it is. The functions of the module are
watched as well, since plain data raise none.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import traceback
from typing import Any


def _leave(what: str) -> None:
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[:-2]]
    line = json.dumps({"what": what, "pid": os.getpid(), "frames": frames[-12:]}) + "\n"
    descriptor = os.open(os.environ["PICKLE_EVIDENCE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        _leave(f"find_class {arguments}")


def _watched(name: str) -> Any:
    original = getattr(pickle, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        _leave(name)
        return original(*args, **kwargs)

    return watched


for _name in ("load", "loads", "dump", "dumps"):
    setattr(pickle, _name, _watched(_name))
sys.addaudithook(_on_event)
_leave("watching")
