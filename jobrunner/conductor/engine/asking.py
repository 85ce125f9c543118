"""What TaskFlow's engine asks a flow's author between atoms: whether an atom is to run, and what a retry wants.

That is somebody else's code as an atom is, so it runs without the baton, and on all cores: a library that a decider is
the first to import may count the cores that it sees, and go by that for as long as the process lives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taskflow.engines.action_engine import runtime
from taskflow.engines.action_engine.actions.retry import RetryAction

from jobrunner.conductor.engine.executors import RetryExecutor


class AskingRetryAction(RetryAction):
    """Moves retries from state to state."""

    _retry_executor: RetryExecutor

    def on_failure(self, retry: Any, atom: Any, last_failure: Any) -> Any:
        return self._retry_executor.ask(
            lambda: super(AskingRetryAction, self).on_failure(retry, atom, last_failure)
        )


class AskingRuntime(runtime.Runtime):
    """The parts that run one compiled flow; its executors are ours."""

    _retry_executor: RetryExecutor

    @functools.cached_property
    def retry_action(self) -> AskingRetryAction:
        return AskingRetryAction(self._storage, self._atom_notifier, self._retry_executor)

    def fetch_edge_deciders(self, atom: Any) -> Any:
        return tuple(
            edge._replace(decider=self._asked(edge.decider)) for edge in super().fetch_edge_deciders(atom)
        )

    def _asked(self, decider: Callable[..., Any]) -> Callable[..., Any]:
        def ask(**given: Any) -> Any:
            return self._retry_executor.ask(lambda: decider(**given))

        return ask
