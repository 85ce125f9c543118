"""jobrunner: a distributed workflow conductor for TaskFlow flows.

The names below are what plugins and programs need; each is imported when it is first used, so that starting the
command line stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobrunner.membership import members
    from jobrunner.plugins import Sleep, WaitForSignal, job, register_capability, register_job, retries
    from jobrunner.policies import RetryPolicy
    from jobrunner.post_job import post_job
    from jobrunner.waits import sleep, sleep_until, wait_for_signal

__version__ = "0.1.0"
__all__ = [
    "RetryPolicy",
    "Sleep",
    "WaitForSignal",
    "__version__",
    "job",
    "members",
    "post_job",
    "register_capability",
    "register_job",
    "retries",
    "sleep",
    "sleep_until",
    "wait_for_signal",
]


def __getattr__(name: str) -> object:
    if name in ("job", "register_job", "register_capability", "retries", "Sleep", "WaitForSignal"):
        from jobrunner import plugins

        return getattr(plugins, name)
    if name == "RetryPolicy":
        from jobrunner.policies import RetryPolicy

        return RetryPolicy
    if name == "members":
        from jobrunner.membership import members

        return members
    if name == "post_job":
        from jobrunner.post_job import post_job

        return post_job
    if name in ("sleep", "sleep_until", "wait_for_signal"):
        from jobrunner import waits

        return getattr(waits, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
