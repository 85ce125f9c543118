"""Everything that jobrunner raises on purpose: one root, names that say what happened.

The class docstring is the default message. ``exit_code`` is what the command line returns for it; ``hint`` says
what to do next and is printed under the message.
"""

from __future__ import annotations

import inspect

EXIT_OK = 0
EXIT_JOB_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_UNAVAILABLE = 75
EXIT_TIMED_OUT = 124
EXIT_INTERRUPTED = 130


class JobrunnerError(Exception):
    """Something went wrong in jobrunner."""

    exit_code = EXIT_JOB_FAILED

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or type(self).__name__))
        self.hint = hint

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def sentence(self) -> str:
        """The message with a full stop, so that another sentence can follow; a driver's own words have none."""
        return self.message if self.message.endswith((".", "?", "!")) else f"{self.message}."


class ConfigError(JobrunnerError):
    """The configuration is not valid."""

    exit_code = EXIT_USAGE


class UsageError(JobrunnerError):
    """The command was not used as it is meant to be."""

    exit_code = EXIT_USAGE


class UnknownJobType(JobrunnerError):
    """No job type of that name is registered."""

    exit_code = EXIT_USAGE


class UnknownCapability(JobrunnerError):
    """No capability of that name is registered."""

    exit_code = EXIT_USAGE


class InvalidParameters(JobrunnerError):
    """A parameter of the job is not valid."""

    exit_code = EXIT_USAGE


class PostingTooLarge(InvalidParameters):
    """The parameters of the job are too large."""


class InvalidFlow(JobrunnerError):
    """The flow of the job does not compile or validate."""

    exit_code = EXIT_USAGE


class DuplicateKey(JobrunnerError):
    """The idempotency key was used before for another job type or other parameters."""

    exit_code = EXIT_USAGE


class LimitNotFound(JobrunnerError):
    """There is no limit of that name."""

    exit_code = EXIT_NOT_FOUND


class JobNotFound(JobrunnerError):
    """There is no such job."""

    exit_code = EXIT_NOT_FOUND


class JobsetNotFound(JobrunnerError):
    """There is no such jobset."""

    exit_code = EXIT_NOT_FOUND


class AmbiguousJobId(JobrunnerError):
    """More than one job's id starts like that."""

    exit_code = EXIT_USAGE


class NodeNotFound(JobrunnerError):
    """There is no such node."""

    exit_code = EXIT_NOT_FOUND


class WrongState(JobrunnerError):
    """The job's state does not allow that."""

    exit_code = EXIT_USAGE


class TooManySignals(JobrunnerError):
    """The job has more signals waiting for it than are kept."""

    exit_code = EXIT_USAGE


class SignalTimedOut(JobrunnerError):
    """A task waited for a signal, which did not arrive in time."""


class OutsideConductor(JobrunnerError):
    """This can be done only by a task of a job that a conductor runs."""


class WaitTimedOut(JobrunnerError):
    """The job was not finished in time."""

    exit_code = EXIT_TIMED_OUT


class StoreUnavailable(JobrunnerError):
    """The database is not available."""

    exit_code = EXIT_UNAVAILABLE


class SchemaOutOfDate(JobrunnerError):
    """The database was not upgraded to this version of jobrunner."""

    exit_code = EXIT_UNAVAILABLE


class BoardUnavailable(JobrunnerError):
    """The job board is not available."""

    exit_code = EXIT_UNAVAILABLE


class WrongBoard(ConfigError):
    """The job board belongs to another database."""


class CorruptRow(JobrunnerError):
    """A row in the database cannot be read."""


class LeaseLost(JobrunnerError):
    """The job's lease was lost: another conductor owns the job, and this one can record nothing more."""


class NotStorable(JobrunnerError):
    """A result cannot be stored: it is not JSON, or it is too large."""


class TaskExited(JobrunnerError):
    """A task tried to end the process that runs it."""


class NotAllowedHere(JobrunnerError):
    """This conductor may not run the job as it wants to be run."""


class PluginError(JobrunnerError):
    """A plugin could not be loaded."""

    exit_code = EXIT_USAGE
