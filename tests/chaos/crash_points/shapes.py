"""The shapes of flows, and what each is to do, written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskflow import retry
from taskflow.patterns import graph_flow, linear_flow, unordered_flow
from taskflow.task import EVENT_UPDATE_PROGRESS, Task
from taskflow.types import failure as ft

from jobrunner import Sleep, WaitForSignal, wait_for_signal
from jobrunner.policies import NO_POLICIES, Policies, RetryPolicy
from tests.chaos.crash_points import evidence, faults
from tests.chaos.crash_points.evidence import EXECUTE, PROGRESS, REVERT, Line

TURN = "turn"
"""Under what name a retry provides its value."""


WORD = "word"
"""The name of the signals that a shape's jobs are sent."""


class StepFailed(Exception):
    """What a step raises that is meant to fail; its arguments are the step's name and turn."""


class Step(Task):  # type: ignore[misc]
    """Tells what it is given, and returns that with a token of its own.

    :param after: the steps whose results it takes
    :param fails_in: the turns in which it fails
    :param turns: whether it takes the value of a retry
    """

    def __init__(
        self, name: str, *after: str, turns: bool = False, fails_in: Iterable[Any] = (), **options: Any
    ) -> None:
        requires = [*after, *([TURN] if turns else [])]
        super().__init__(name, provides=name, requires=requires, **options)
        self._fails_in = list(fails_in)

    def execute(self, **given: Any) -> Any:
        line = Line(
            atom=self.name,
            what=EXECUTE,
            turn=given.pop(TURN, None),
            saw={name: result["token"] for name, result in given.items()},
            token=evidence.new_token(),
        )
        evidence.leave(line)
        self.work()
        if line.turn in self._fails_in:
            raise StepFailed(self.name, line.turn)
        return {"atom": self.name, "turn": line.turn, "saw": line.saw, "token": line.token}

    def work(self) -> None:
        """What there is to do between the telling and the result."""

    def revert(self, result: Any, flow_failures: Mapping[str, Any], **given: Any) -> Any:
        line = Line(
            atom=self.name,
            what=REVERT,
            turn=given.pop(TURN, None),
            saw={name: result["token"] for name, result in given.items()},
            token=None if result is None or isinstance(result, ft.Failure) else result["token"],
            failures=tuple(sorted(flow_failures)),
        )
        evidence.leave(line)
        return {"undone": self.name, "turn": line.turn}


class Reporting(Step):
    """Reports progress, and goes on when that is committed."""

    def work(self) -> None:
        for amount in (0.25, 0.75):
            with faults.next_write():
                self.notifier.notify(
                    EVENT_UPDATE_PROGRESS, {"progress": amount, "message": f"{amount:.0%} done"}
                )
            evidence.leave(Line(atom=self.name, what=PROGRESS, amount=amount))


class Taking(Step):
    """Takes a signal, and returns what came with it as well."""

    def execute(self, **given: Any) -> Any:
        return {**super().execute(**given), "signal": wait_for_signal(WORD)}


class Times(retry.Times):  # type: ignore[misc]
    """TaskFlow's, but that it tells."""

    def execute(self, history: Any, *args: Any, **kwargs: Any) -> Any:
        return _told(self.name, super().execute(history, *args, **kwargs))

    def revert(self, history: Any, *args: Any, **kwargs: Any) -> Any:
        evidence.leave(Line(atom=self.name, what=REVERT, failures=tuple(sorted(kwargs["flow_failures"]))))


class ForEach(retry.ForEach):  # type: ignore[misc]
    """TaskFlow's, but that it tells."""

    def execute(self, history: Any, *args: Any, **kwargs: Any) -> Any:
        return _told(self.name, super().execute(history, *args, **kwargs))


def _told(name: str, value: Any) -> Any:
    evidence.leave(Line(atom=name, what=EXECUTE, turn=value))
    return value


class Does(NamedTuple):
    """How often an atom is executed and reverted, and its last state."""

    executes: int
    reverts: int
    ends: str


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A flow, and what a run of it without a fault does."""

    name: str
    flow: Callable[[], Any]
    does: Mapping[str, Does]
    ends: str = "SUCCEEDED"
    engine: str = "serial"
    signals: Sequence[Any] = ()
    """What signals its jobs are sent before they begin."""
    suspends: bool = False
    """Whether it waits for times: then an owner goes on with it when they come."""
    policies: Policies = NO_POLICIES
    jobs: int = 1
    """So many jobs of it come one after the other."""
    reports: Mapping[str, float] = field(default_factory=dict)
    """The last amount that an atom reports before it ends."""
    least_writes: int
    """The claim, a barrier before whatever an atom does, each progress that is waited for, and the end."""


def linear() -> Any:
    return linear_flow.Flow("linear").add(Step("a"), Step("b", "a"), Step("c", "b"), Step("d", "a", "c"))


def unordered() -> Any:
    return unordered_flow.Flow("unordered").add(Step("a"), Step("b"), Step("c"), Step("d"))


def graph() -> Any:
    steps = [
        Step("top"),
        Step("left", "top"),
        Step("right", "top"),
        Step("bottom", "left", "right"),
        Step("aside"),
    ]
    return graph_flow.Flow("graph").add(*steps)


def nested() -> Any:
    inner = linear_flow.Flow("inner").add(Step("one", "first"), Step("two", "one"))
    middle = unordered_flow.Flow("middle").add(Step("beside", "first"), inner)
    return linear_flow.Flow("nested").add(Step("first"), middle, Step("last", "beside", "two"))


def _retried(controller: Any, fails_in: list[Any]) -> Any:
    tried = linear_flow.Flow("tried", retry=controller)
    tried.add(Step("work", "before", turns=True), Step("flaky", "work", turns=True, fails_in=fails_in))
    return linear_flow.Flow("retried").add(Step("before"), tried, Step("later", "before", "flaky"))


def times() -> Any:
    return _retried(Times(3, "tries", provides=TURN), [1])


def for_each() -> Any:
    return _retried(ForEach(["red", "green", "blue"], "colours", provides=TURN), ["red", "green"])


def giving_up() -> Any:
    """In each turn another step fails, and there are only two turns."""
    tried = linear_flow.Flow("tried", retry=Times(2, "tries", provides=TURN))
    tried.add(
        Step("work", "before", turns=True, fails_in=[1]), Step("flaky", "work", turns=True, fails_in=[2])
    )
    return linear_flow.Flow("giving up").add(Step("before"), tried, Step("later", "flaky"))


def failing() -> Any:
    inner = unordered_flow.Flow("inner").add(Step("left", "first"), Step("right", "first"))
    return linear_flow.Flow("failing").add(
        Step("first"), inner, Step("bad", "left", fails_in=[None]), Step("never")
    )


def progress() -> Any:
    return linear_flow.Flow("progress").add(
        Step("before"), Reporting("reports", "before"), Step("later", "reports")
    )


def waiting() -> Any:
    return linear_flow.Flow("waiting").add(
        Step("a"), Taking("first", "a"), Sleep(NAP_S), Taking("second", "first"), Step("b", "second")
    )


def retried_waiting() -> Any:
    """Each turn takes a signal of its own, and sleeps."""
    tried = linear_flow.Flow("tried", retry=Times(3, "tries", provides=TURN))
    tried.add(Taking("take", turns=True), Sleep(NAP_S), Step("flaky", "take", turns=True, fails_in=[1]))
    return linear_flow.Flow("retried waiting").add(tried, Step("later", "flaky"))


class InSecond(Step):
    """Fails in the first attempt of its job."""

    def work(self) -> None:
        if not evidence.is_again():
            raise StepFailed(self.name, None)


def retried_job() -> Any:
    return linear_flow.Flow("retried job").add(Step("a"), InSecond("b", "a"), Step("c", "b"))


def in_vain() -> Any:
    """Waits for a signal that never comes."""
    return linear_flow.Flow("in vain").add(
        Step("a"), WaitForSignal("never", timeout=NAP_S, default=NOBODY, name="wait"), Step("b", "a")
    )


def chained() -> Any:
    return linear_flow.Flow("chained").add(Step("a"), Step("b", "a"))


NOBODY = {"turn": None, "token": "nobody"}
NAP_S = 0.06
"""Longer than what a task sleeps through without being suspended."""

ONCE = Does(1, 0, "SUCCESS")
UNDONE = Does(1, 1, "REVERTED")
NEVER = Does(0, 0, "PENDING")
FOUR = dict.fromkeys("abcd", ONCE)
TWICE, THRICE = Does(2, 1, "SUCCESS"), Does(3, 2, "SUCCESS")

_ALL = (
    Shape(name="linear", flow=linear, does=FOUR, least_writes=1 + 4 + 1),
    Shape(name="unordered", flow=unordered, does=FOUR, least_writes=1 + 4 + 1),
    Shape(
        name="graph",
        flow=graph,
        does=dict.fromkeys(("top", "left", "right", "bottom", "aside"), ONCE),
        least_writes=1 + 5 + 1,
    ),
    Shape(
        name="nested",
        flow=nested,
        does=dict.fromkeys(("first", "beside", "one", "two", "last"), ONCE),
        least_writes=1 + 5 + 1,
    ),
    Shape(
        name="retry Times",
        flow=times,
        does={"before": ONCE, "tries": Does(2, 0, "SUCCESS"), "work": TWICE, "flaky": TWICE, "later": ONCE},
        least_writes=1 + 10 + 1,
    ),
    Shape(
        name="retry ForEach",
        flow=for_each,
        does={
            "before": ONCE,
            "colours": Does(3, 0, "SUCCESS"),
            "work": THRICE,
            "flaky": THRICE,
            "later": ONCE,
        },
        least_writes=1 + 15 + 1,
    ),
    Shape(
        name="failing",
        flow=failing,
        does={**dict.fromkeys(("first", "left", "right", "bad"), UNDONE), "never": NEVER},
        ends="REVERTED",
        least_writes=1 + 8 + 1,
    ),
    Shape(
        name="progress",
        flow=progress,
        does=dict.fromkeys(("before", "reports", "later"), ONCE),
        reports={"reports": 0.75},
        least_writes=1 + 3 + 2 + 1,
    ),
    # Beyond the eight: what runs at once may share its barrier; and what is undone of a flow is not all of it.
    Shape(name="side by side", flow=unordered, does=FOUR, engine="parallel", least_writes=1 + 1 + 1),
    Shape(
        name="retry gives up",
        flow=giving_up,
        does={
            "before": ONCE,
            "tries": Does(2, 1, "REVERTED"),
            "work": Does(2, 2, "REVERTED"),
            "flaky": UNDONE,
            "later": NEVER,
        },
        ends="FAILED",
        least_writes=1 + 9 + 1,
    ),
    # A job that waits is left, and claimed again.
    Shape(
        name="waiting",
        flow=waiting,
        does={**dict.fromkeys(("a", "first", "second", "b"), ONCE), "sleep": Does(0, 0, "SUCCESS")},
        signals=("one", "two"),
        suspends=True,
        least_writes=1 + 3 + 1 + 1 + 3 + 1,
    ),
    Shape(
        name="retried waiting",
        flow=retried_waiting,
        does={
            "tries": Does(2, 0, "SUCCESS"),
            "take": TWICE,
            "sleep": Does(0, 0, "SUCCESS"),
            "flaky": TWICE,
            "later": ONCE,
        },
        signals=("one", "two", "three"),
        suspends=True,
        least_writes=1 + 14 + 4 + 1,
    ),
    # A job's life is longer than one flow: it is run again, waits in vain, and others come after it.
    Shape(
        name="retried job",
        flow=retried_job,
        does={
            **dict.fromkeys("ab", UNDONE),
            "c": NEVER,
            **dict.fromkeys((f"{name}, attempt 2" for name in "abc"), ONCE),
        },
        policies=Policies(retry=RetryPolicy(attempts=2, delay=NAP_S, jitter=0)),
        suspends=True,
        least_writes=1 + 4 + 1 + 1 + 3 + 1,
    ),
    Shape(
        name="in vain",
        flow=in_vain,
        does={**dict.fromkeys("ab", ONCE), "wait": Does(0, 0, "SUCCESS")},
        suspends=True,
        least_writes=1 + 2 + 1 + 1 + 1 + 1,
    ),
    Shape(
        name="chained",
        flow=chained,
        does=dict.fromkeys(("a", "b", "a of job 2", "b of job 2"), ONCE),
        jobs=2,
        least_writes=2 * (1 + 2 + 1) + 1,
    ),
)
SHAPES = {shape.name: shape for shape in _ALL}
