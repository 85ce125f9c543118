"""Asking capabilities: may this node run that job?

Predicates are other people's code, asked while nobody else may wait for them: each answer comes from a thread
of its own, an answer that is late counts as no, and a capability with a late answer is not asked again until
it has come. What a predicate raises counts as no, and is logged the first time.
"""

from __future__ import annotations

import contextvars
import inspect
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jobrunner.errors import UnknownCapability
from jobrunner.model import JobView
from jobrunner.plugins.registry import Capability, Registry

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 5.0
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a job may run here, and if not, why."""

    ok: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.ok


YES = Verdict(ok=True)


class Evaluator:
    """Asks the capabilities of a registry. It can be used by several threads at once."""

    def __init__(self, registry: Registry, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """``timeout``: seconds that an answer may take, unless the capability was registered with its own."""
        self._registry = registry
        self._timeout = timeout
        self._lock = threading.Lock()
        self._late: set[Capability] = set()
        self._logged: set[tuple[str, str]] = set()

    def satisfies(self, references: Iterable[str], view: JobView) -> Verdict:
        """Whether all of them say yes; the reason is that of the first that does not."""
        for reference in references:
            verdict = self.evaluate(reference, view)
            if not verdict:
                return Verdict(ok=False, reason=f"{reference}: {verdict.reason}")
        return YES

    def evaluate(self, reference: str, view: JobView) -> Verdict:
        """What the capability ``name`` or ``name:argument`` says of the job. Raises nothing."""
        try:
            capability, arguments = _call(self._registry, reference, view)
        except UnknownCapability as error:
            return Verdict(ok=False, reason=error.message)
        with self._lock:
            if capability in self._late:
                return Verdict(ok=False, reason="it still works on an earlier question")
        return self._ask(capability, arguments)

    def _ask(self, capability: Capability, arguments: tuple[object, ...]) -> Verdict:
        question = _Question(capability, arguments, on_end=self._ended)
        timeout = self._timeout if capability.timeout is None else capability.timeout
        question.start()
        if question.done.wait(timeout):
            return self._told(capability, question)
        with self._lock:
            if not question.done.is_set():
                self._late.add(capability)
        reason = f"it did not answer within {timeout:g} s"
        self._log_once(capability, "late", f"{reason}; the job is left to other nodes")
        return Verdict(ok=False, reason=reason)

    def _ended(self, question: _Question) -> None:
        with self._lock:
            question.done.set()
            self._late.discard(question.capability)

    def _told(self, capability: Capability, question: _Question) -> Verdict:
        if (error := question.error) is not None:
            reason = f"it raised {type(error).__name__}: {error}"
            self._log_once(capability, type(error).__name__, f"{reason}; that counts as no", error)
            return Verdict(ok=False, reason=reason)
        answer = question.answer
        if isinstance(answer, Verdict):
            return answer
        return YES if answer else Verdict(ok=False, reason="it said no")

    def _log_once(
        self, capability: Capability, kind: str, message: str, error: BaseException | None = None
    ) -> None:
        with self._lock:
            first = (capability.name, kind) not in self._logged
            self._logged.add((capability.name, kind))
        if first:
            logger.warning(
                "capability %s of %s: %s", capability.name, capability.module, message, exc_info=error
            )


class _Question:
    """One call of a predicate, in a thread that nobody has to wait for."""

    def __init__(
        self, capability: Capability, arguments: tuple[object, ...], on_end: Callable[[_Question], None]
    ) -> None:
        self.capability = capability
        self.done = threading.Event()
        self.answer: object = None
        self.error: BaseException | None = None
        self._arguments = arguments
        self._on_end = on_end

    def start(self) -> None:
        context = contextvars.copy_context()
        name = f"capability-{self.capability.name}"
        threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True).start()

    def _run(self) -> None:
        try:
            self.answer = self.capability.predicate(*self._arguments)
        except BaseException as error:  # noqa: BLE001 - the edge of a thread that runs foreign code
            self.error = error
        self._on_end(self)


def check_reference(registry: Registry, reference: str) -> None:
    """UnknownCapability if there is none of that name, or it has an argument where it takes none, or none
    where it needs one.
    """
    _call(registry, reference, JobView(id="", type=""))


def _call(registry: Registry, reference: str, view: JobView) -> tuple[Capability, tuple[object, ...]]:
    capability = registry.get_capability(reference)
    _, _, argument = reference.partition(":")
    parameters = [
        parameter
        for parameter in inspect.signature(capability.predicate).parameters.values()
        if parameter.kind
        in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    takes_argument = len(parameters) > 1 or any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if argument and not takes_argument:
        raise UnknownCapability(
            f"the capability {capability.name!r} takes no argument, and {reference!r} has one"
        )
    if not argument and len(parameters) > 1 and _is_required(parameters[1]):
        raise UnknownCapability(
            f"the capability {capability.name!r} needs an argument: write {capability.name}:<argument>"
        )
    return capability, (view, argument) if argument else (view,)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
