"""The hostile postings: what somebody may try to post, with no promise that it has the types that a posting has."""

from __future__ import annotations

import math
from typing import Any

from jobrunner.policies import Policies

ESC = "\x1b[2J\x1b]0;owned\x07"
SQL = "'; DROP TABLE jobs; --"
LUA = "redis.call('FLUSHALL') return {1} --"
TOUCH = "touch $HOSTILE_CANARY"
PYTHON = "__import__('os').system('touch $HOSTILE_CANARY')"
PICKLE = "cos\nsystem\n(S'touch $HOSTILE_CANARY'\ntR."
MODULE = "flows.hostile.targets"


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def factory(name: Any, *args: Any, **more: Any) -> dict[str, Any]:
    return {"type": "announce", "factory": {"name": name, "args": list(args), "kwargs": {}, **more}}


def echo(**parameters: Any) -> dict[str, Any]:
    return {"type": "echo", "parameters": parameters}


REFUSED: dict[str, dict[str, Any]] = {
    # Names of code in the place of a job type's
    "a function's path as type": {"type": "os.system", "parameters": {"command": TOUCH}},
    "an entry point as type": {"type": "os:system", "parameters": {"command": TOUCH}},
    "a class's path as type": {"type": "subprocess.Popen", "parameters": {"args": TOUCH}},
    "a registered plugin's own code as type": {"type": f"{MODULE}:_detonate"},
    "a registered function's path as type": {"type": f"{MODULE}.echo"},
    "an expression as type": {"type": PYTHON},
    "a file as type": {"type": "../../../../tmp/evil.py"},
    "an address as type": {"type": "http://localhost/evil.py"},
    "nothing as type": {"type": ""},
    "a type with a NUL": {"type": "echo\x00"},
    "a type with a line end": {"type": "echo\n"},
    "a type with escapes": {"type": f"echo{ESC}"},
    "a type in other letters": {"type": "ECHO"},
    "a type that never ends": {"type": "e" * 1_000_000},
    "SQL as type": {"type": f"echo{SQL}"},
    "Lua as type": {"type": LUA},
    "None as type": {"type": None},
    "a list as type": {"type": ["echo"]},
    "an object as type": {"type": {"name": "echo"}},
    "a number as type": {"type": 7},
    # Factories that are not the type's own
    "a factory for a type that has its own": {**factory("os:system", TOUCH), "type": "echo"},
    "a foreign factory": factory("os:system", TOUCH),
    "a foreign factory with a dot": factory("os.system", TOUCH),
    "a factory of the interpreter's": factory("builtins:exec", PYTHON),
    "a factory of a library": factory("subprocess:run", ["touch", "$HOSTILE_CANARY"]),
    "a factory of jobrunner's own": factory("jobrunner.cli.main:entry", ["db", "upgrade"]),
    "a factory of another plugin": factory("flows.hostile.others:detonating_flow"),
    "a private factory": factory(f"{MODULE}:_detonate"),
    "an imported factory": factory(f"{MODULE}:run", ["touch", "$HOSTILE_CANARY"]),
    "a class as factory": factory(f"{MODULE}:Detonate"),
    "a method as factory": factory(f"{MODULE}:Detonate.now"),
    "a factory through the builtins": factory(f"{MODULE}:__builtins__"),
    "a factory above its plugin": factory(f"{MODULE}.../os:system", TOUCH),
    "the posting function as factory": factory(f"{MODULE}:announce"),
    "a factory without a name": {"type": "announce", "factory": {"args": [TOUCH]}},
    "a factory that is a list": {"type": "announce", "factory": ["os", "system", TOUCH]},
    "a factory that is text": {"type": "announce", "factory": "os:system"},
    "a factory with a name that is a list": factory(["os", "system"]),
    "a factory with more to say": factory(f"{MODULE}:make_flow", "x", reduce="os.system"),
    "a factory with arguments for nobody": factory(f"{MODULE}:make_flow", object()),
    "a factory's arguments as text": {
        "type": "announce",
        "factory": {"name": f"{MODULE}:make_flow", "args": TOUCH},
    },
    # Parameters
    "parameters that are a list": {"type": "echo", "parameters": ["text"]},
    "parameters that are text": {"type": "echo", "parameters": SQL},
    "an unknown parameter": echo(__class__="os.system"),
    "a parameter that is no text": {"type": "echo", "parameters": {7: "x"}},
    "text for a number": echo(number=PYTHON),
    "a number that is none": echo(share=math.nan),
    "a number without end": echo(share=math.inf),
    "an object": echo(text=object()),
    "a class": echo(extra={"x": type}),
    "pickled bytes": echo(
        text=b"\x80\x04\x95\x1f\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x93\x8c\x02id\x85R."
    ),
    "a store with a key with escapes": {**factory(f"{MODULE}:make_flow", "x"), "parameters": {ESC: 1}},
    "a store with a key that is no text": {**factory(f"{MODULE}:make_flow", "x"), "parameters": {7: 1}},
    "a store that never ends": {**factory(f"{MODULE}:make_flow", "x"), "parameters": {"x" * 300_000: 1}},
    "a call with a key with escapes": {
        "type": "announce",
        "factory": {"name": f"{MODULE}:make_flow", "kwargs": {ESC: 1}},
    },
    "a thousand unknown parameters": echo(**{f"unknown{number}": TOUCH for number in range(1000)}),
    "an unknown parameter that never ends": echo(**{"x" * 100_000: 1}),
    "too much text": echo(text="x" * 300_000),
    "too many names": echo(names=["x" * 1000] * 300),
    "a deep parameter": echo(extra={"x": nested(33)}),
    "a very deep parameter": echo(extra={"x": nested(100_000)}),
    "a parameter that holds itself": echo(extra={"x": cycle()}),
    "text with escapes": echo(text=ESC),
    "text with a NUL": echo(text="a\x00b"),
    "half a character": echo(text="\ud800"),
    "a key with escapes": echo(extra={ESC: 1}),
    # What goes with a posting
    "code as capability": {"type": "echo", "capabilities": ("os.system:" + TOUCH,)},
    "a capability that is no text": {"type": "echo", "capabilities": (7,)},
    "a capability with escapes": {"type": "echo", "capabilities": ("has_command:" + ESC,)},
    "a capability that never ends": {"type": "echo", "capabilities": ("has_command:" + "x" * 1_000_000,)},
    "capabilities in one text": {"type": "echo", "capabilities": "has_command:sh"},
    "too many capabilities": {
        "type": "echo",
        "capabilities": tuple(f"has_command:{number}" for number in range(100_000)),
    },
    "a node that never ends": {"type": "echo", "node": "n" * 100_000},
    "a node with escapes": {"type": "echo", "node": ESC},
    "a node that is no text": {"type": "echo", "node": ["n"]},
    "a priority of its own": {"type": "echo", "priority": -1000},
    "a priority as text": {"type": "echo", "priority": "first"},
    "a time after the end of time": {"type": "echo", "available_ms": 2**80},
    "a time as text": {"type": "echo", "available_ms": "soon"},
    "a time that is none": {"type": "echo", "available_ms": math.nan},
    "an expiry as text": {"type": "echo", "expires_ms": "soon"},
    "an expiry after the end of time": {"type": "echo", "expires_ms": 2**80},
    "an expiry before the start": {"type": "echo", "available_ms": 2_000, "expires_ms": 1_000},
    "policies that are none": {"type": "echo", "policies": {"retry": {"attempts": 3}}},
    "a retry that is none": {"type": "echo", "policies": Policies(retry="often")},  # type: ignore[arg-type]
    "a policy of other values": {"type": "echo", "policies": Policies(critical=[1])},  # type: ignore[arg-type]
    "a jobset of somebody else's": {"type": "echo", "jobset_id": "00000000-0000-0000-0000-000000000000"},
    "a jobset that is no id": {"type": "echo", "jobset_id": SQL},
    "a time limit that is none": {"type": "echo", "timeout": math.nan},
    "a time limit below nothing": {"type": "echo", "timeout": -5.0},
    "a time limit of too many digits": {"type": "echo", "timeout": 10**400},
    "a time limit as text": {"type": "echo", "timeout": "1h"},
    "an author with escapes": {"type": "echo", "author": ESC},
    "an author who never ends": {"type": "echo", "author": "a" * 100_000},
    "an author who is no text": {"type": "echo", "author": {"name": "root"}},
    "properties that never end": {"type": "echo", "properties": {"x": "y" * 1_000_000}},
    "deep properties": {"type": "echo", "properties": {"x": nested(100_000)}},
    "properties with half a character": {"type": "echo", "properties": {"x": "\udcff"}},
    "properties with escapes": {"type": "echo", "properties": {ESC: ESC}},
    "properties that hold objects": {"type": "echo", "properties": {"x": object()}},
    "properties that are a list": {"type": "echo", "properties": ["x"]},
    "properties that are an empty list": {"type": "echo", "properties": []},
    "a key with a line end": {"type": "echo", "idempotency_key": "a\nb"},
    "a key that never ends": {"type": "echo", "idempotency_key": "k" * 100_000},
    "a key that is no text": {"type": "echo", "idempotency_key": 7},
}
"""By what they are; ``Posting``'s fields."""

ONLY_TEXT = (
    SQL,
    LUA,
    TOUCH,
    PYTHON,
    PICKLE,
    "$(touch $HOSTILE_CANARY)",
    "`touch $HOSTILE_CANARY`",
    "{0.__class__.__mro__[1].__subclasses__()}",
    "%(password)s %n %x",
    "{{ config.__class__ }} ${7*7} <%= 7*7 %>",
    "<script>alert(1)</script>",
    "[bold red]markup[/bold red] [link=file:///etc/passwd]x[/link]",
    "../../../etc/passwd",
    "!!python/object/apply:os.system ['touch $HOSTILE_CANARY']",
    '{"py/reduce": [{"py/function": "os.system"}, ["touch $HOSTILE_CANARY"]]}',
    "KEYS[1] ARGV[1]\r\n*1\r\n$8\r\nFLUSHALL\r\n",
)
"""Texts that somebody else's program might obey; here they are text, and come back unchanged."""

COMMANDS: dict[str, list[str]] = {
    "code as type": ["os.system"],
    "an entry point as type": ["os:system", TOUCH],
    "an expression as type": [PYTHON],
    "a type with escapes": [f"echo{ESC}"],
    "a type that is not text": ["echo\udcff"],
    "a type that never ends": ["e" * 100_000],
    "nothing as type": [""],
    "an unknown option": ["echo", "--__class__", "os.system"],
    "an option with escapes": ["echo", f"--{ESC}", "x"],
    "a command's option with escapes": [f"--{ESC}", "echo"],
    "text for a number": ["echo", "--number", PYTHON],
    "text with escapes for a number": ["echo", "--number", ESC],
    "a number that is none": ["echo", "--share", "nan"],
    "a number without end": ["echo", "--number", "9" * 100_000],
    "text with escapes": ["echo", "--text", ESC],
    "text that is no text": ["echo", "--text", "\udcff"],
    "too much text": ["echo", "--names", *(["x" * 100_000] * 3)],
    "a file instead of JSON": ["echo", "--extra", "@/etc/shadow-of-nothing"],
    "a device instead of JSON": ["echo", "--extra", "@/dev/null"],
    "code instead of JSON": ["echo", "--extra", PYTHON],
    "deep JSON": ["echo", "--extra", "[" * 50_000],
    "deep JSON that ends": ["echo", "--extra", '{"x":' + "[" * 50_000 + "]" * 50_000 + "}"],
    "JSON with escapes": ["echo", "--extra", '{"x": "\\u001b[2J"}'],
    "JSON with a NUL": ["echo", "--extra", '{"x": "\\u0000"}'],
    "JSON that is no object": ["echo", "--extra", "[1]"],
    "code as capability": ["echo", "--capability", "os.system:" + TOUCH],
    "a capability with escapes": ["echo", "--capability", "has_command:" + ESC],
    "a node with escapes": ["echo", "--node", ESC],
    "a node that never ends": ["echo", "--node", "n" * 1000],
    "a priority of its own": ["echo", "--priority", ESC],
    "a time of its own": ["echo", "--at", f"2099-01-01 {ESC}"],
    "a zone that is a path": ["echo", "--at", "18:30", "--zone", "../../../etc/passwd"],
    "a zone of its own": ["echo", "--at", "18:30", "--zone", ESC],
    "an expiry of its own": ["echo", "--expires", ESC],
    "more retries than there are": ["echo", "--retry", "9" * 400],
    "retries after what is no end": ["echo", "--retry", "3", "--retry-on", f"failed,{ESC}"],
    "a delay without end": ["echo", "--delay", "9" * 30 + "d"],
    "a delay below nothing": ["echo", "--delay", "-5s"],
    "a time limit that is none": ["echo", "--timeout", "nan"],
    "a time limit with escapes": ["echo", "--timeout", ESC],
    "a tag that is no text": ["echo", "--tag", "x=\udcff"],
    "a tag with escapes": ["echo", "--tag", f"{ESC}={ESC}"],
    "tags that never end": ["echo", *(f"--tag={name}={'y' * 100_000}" for name in "abc")],
    "a tag without a value": ["echo", "--tag", ESC],
    "an author with escapes": ["echo", "--author", ESC],
    "a key with a line end": ["echo", "--key", "a\nb"],
    "a key that is no text": ["echo", "--key", "\udcff"],
    "a drawing of something else": ["echo", "--hierarchy=" + ESC],
    "a factory in a classic posting": ["announce", "--factory", "os:system"],
    "an unknown option of a classic posting": ["announce", "--__class__", "os.system"],
    "text with escapes in a classic posting": ["announce", "--word", ESC],
}
"""What is written after ``jobrunner post``."""
