"""Hostile rows of ``jobs``, past everything that checks: what differs in each from the row of an honest ``echo``."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.hostile.postings import ESC, LUA, MODULE, PICKLE, PYTHON, SQL, TOUCH

FAR_MS = 2**62


def factory(name: Any, *args: Any) -> dict[str, Any]:
    return {"type": "announce", "factory": json.dumps({"name": name, "args": list(args), "kwargs": {}})}


def deep(depth: int) -> str:
    return "[" * depth + "]" * depth


FAIL: dict[str, dict[str, Any]] = {
    "a foreign factory of a type that has its own": {**factory("os:system", TOUCH), "type": "echo"},
    "a foreign factory": factory("os:system", TOUCH),
    "a foreign factory with a dot": factory("os.system", TOUCH),
    "a factory of the interpreter's": factory("builtins:exec", PYTHON),
    "a factory of a library": factory("subprocess:run", ["touch", "$HOSTILE_CANARY"]),
    "a factory of another plugin": factory("flows.hostile.others:detonating_flow"),
    "a private factory": factory(f"{MODULE}:_detonate"),
    "an imported factory": factory(f"{MODULE}:run", ["touch", "$HOSTILE_CANARY"]),
    "a class as factory": factory(f"{MODULE}:Detonate"),
    "a method as factory": factory(f"{MODULE}:Detonate.now"),
    "the posting function as factory": factory(f"{MODULE}:announce"),
    "a factory with escapes": factory(ESC, ESC),
    "a factory that is a list": {"type": "announce", "factory": json.dumps(["os", "system", TOUCH])},
    "a factory that is text": {"type": "announce", "factory": '"os:system"'},
    "a factory that is a number": {"type": "announce", "factory": "7"},
    "no factory where one is needed": {"type": "announce", "factory": None},
    "a factory of a job that seems to run": {
        **factory("os:system", TOUCH),
        "state": "RUNNING",
        "owner": ESC,
        "node": ESC,
    },
    "unknown parameters": {"parameters": json.dumps({"__class__": "os.system", ESC: ESC})},
    "a parameter of another type": {"parameters": json.dumps({"number": PYTHON})},
    "a parameter that is no number": {"parameters": '{"share": NaN}'},
    "text with escapes": {"parameters": json.dumps({"text": ESC})},
    "text with a NUL": {"parameters": json.dumps({"text": "a\x00b"})},
    "half a character": {"parameters": '{"text": "\\ud800"}'},
    "deep parameters": {"parameters": '{"extra": {"x": ' + deep(200) + "}}"},
    "more deaths than there are owners": {"deaths": 10**6},
}
"""Rows that can be read, and whose jobs end as FAILED, with the reason in plain words."""

WAIT: dict[str, dict[str, Any]] = {
    "code as type": {"type": "os.system", "parameters": json.dumps({"command": TOUCH})},
    "a registered plugin's own code as type": {"type": f"{MODULE}:_detonate"},
    "an expression as type": {"type": PYTHON},
    "SQL as type": {"type": SQL},
    "Lua as type": {"type": LUA},
    "a type with escapes": {"type": f"echo{ESC}"},
    "a type that never ends": {"type": "e" * 200},
    "code as capability": {"capabilities": json.dumps([f"os.system:{TOUCH}"])},
    "a capability with code as its argument": {"capabilities": json.dumps([f"has_command:; {TOUCH}"])},
    "a capability with escapes": {"capabilities": json.dumps([ESC])},
    "a node with escapes": {"node_pin": ESC},
    "escapes wherever there is text": {
        "type": f"os.system{ESC}",
        "author": ESC,
        "note": ESC,
        "node": ESC,
        "idempotency_key": ESC,
        "properties": json.dumps({ESC: ESC}),
        "error": json.dumps({"kind": ESC, "message": ESC, "traceback": ESC}),
    },
    "times after the end of time": {
        "type": "os.system",
        "created_ms": FAR_MS,
        "available_ms": FAR_MS,
        "started_ms": -FAR_MS,
    },
}
"""Rows that can be read, and whose jobs nobody may run; they wait."""

UNREADABLE: dict[str, dict[str, Any]] = {
    "a pickled factory": {"type": "announce", "factory": PICKLE},
    "parameters that are not JSON": {"parameters": PYTHON},
    "parameters that are a list": {"parameters": "[1]"},
    "parameters that are text": {"parameters": '"text"'},
    "a number that never ends": {"parameters": '{"number": ' + "9" * 10_000 + "}"},
    "properties that are text": {"properties": '"text"'},
    "capabilities that are no list": {"capabilities": '{"os": "system"}'},
    "capabilities that are numbers": {"capabilities": "[7]"},
    "a priority of its own": {"priority": -99},
    "a priority as text": {"priority": "first"},
    "a state of its own": {"state": "OWNED"},
    "a state with escapes": {"state": ESC},
    "an epoch as text": {"epoch": "one"},
    "an attempt as text": {"attempt": ESC},
    "a cancel mode of its own": {"cancel": "os.system"},
    "a time limit as text": {"timeout": "soon"},
    "times as text": {"created_ms": "long ago"},
    "a result that is not JSON": {"result": ESC},
    "an error that is not JSON": {"error": PYTHON},
    "an error that is a list": {"error": "[]"},
}
"""Rows that say so, and are left as they are. SQLite keeps any text in any column."""

ENDED: dict[str, dict[str, Any]] = {
    "an end with escapes": {
        "state": "FAILED",
        "author": ESC,
        "note": ESC,
        "node": ESC,
        "owner": ESC,
        "finished_ms": FAR_MS,
        "result": json.dumps({ESC: [ESC]}),
        "error": json.dumps({"kind": ESC, "message": ESC, "traceback": ESC}),
    },
    "an end that is no number": {"state": "FAILED", "result": '{"share": NaN, "more": Infinity}'},
}
"""Rows of jobs that have ended, for whoever looks at them."""

POISON: dict[str, dict[str, Any]] = {
    "a factory that is too deep": {"type": "announce", "factory": deep(100_000)},
    "parameters that are too deep": {"parameters": '{"extra": ' + deep(100_000) + "}"},
    "properties that are too deep": {"properties": '{"x": ' + deep(100_000) + "}"},
    "an epoch that has no next": {"epoch": 2**63 - 1},
    "SQL as id": {"id": SQL},
    "Lua as id": {"id": LUA[:36]},
    "an id with escapes": {"id": ESC},
    "a path as id": {"id": "../../../../tmp/evil"},
    "an empty id": {"id": ""},
}
"""Rows that cannot be read either, for reasons of their own."""
