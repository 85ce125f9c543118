"""What is posted under conditions: where it may run, by when, only once at a time, or in a process of its own."""

from __future__ import annotations

from typing import Any

from jobrunner.policies import Hold, Placement, Policies, RunLimits
from tests.chaos.case import Kind
from tests.chaos.systems import LABEL

PINNED, PREFERRED = "bob", "alice"
"""Nodes that are there in each run."""
FAILOVER_S = 2.0
LOCK = Policies(holds=(Hold(name="chaos lock"),))
APART = Policies(run=RunLimits(isolation="process"))
PREFERS = Policies(placement=Placement(prefer=PREFERRED, failover=FAILOVER_S))
CUSTOMERS = ("one", "two")


def conditions(evidence: str) -> list[tuple[int, Kind]]:
    """All of it, each with its weight."""

    def kind(name: str, ends: str, type_: str, **options: Any) -> Kind:
        fields = ("policies", "node", "on", "expires", "only")
        own = {key: options.pop(key) for key in fields if key in options}
        parameters = {"evidence": evidence, **options}
        return Kind(name=name, type=type_, parameters=parameters, ends=tuple(ends.split()), **own)

    short: dict[str, Any] = {"steps": 3, "seconds": 0.2}
    return [
        (80, kind("apart", "SUCCEEDED", "chaos_apart", policies=APART)),
        (40, kind("pinned", "SUCCEEDED", "chaos_line", node=PINNED, **short)),
        (40, kind("prefers", "SUCCEEDED", "chaos_line", policies=PREFERS, **short)),
        (15, kind("everywhere", "SUCCEEDED", "chaos_line", on=(f"label={LABEL}",), **short)),
        (30, kind("expires soon", "SUCCEEDED EXPIRED", "chaos_line", expires=0.02, **short)),
        (30, kind("expires in line", "SUCCEEDED EXPIRED", "chaos_line", expires=0.4, policies=LOCK, **short)),
        *(
            (40, kind("only", "SUCCEEDED", "chaos_only", only=customer, customer=customer))
            for customer in CUSTOMERS
        ),
    ]  # fmt: skip
