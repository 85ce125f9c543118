"""Words for jobs in processes of their own: what they may use, and what they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobrunner.cli import text
from jobrunner.model import Job
from jobrunner.policies import RunLimits


def limits_text(limits: RunLimits | None) -> str:
    """What a job's process is, and may use; empty for one in a thread."""
    if limits is None or not limits.own_process:
        return ""
    from jobrunner.quantities import format_duration, format_size

    parts = ["of its own" + (f", as {limits.account}" if limits.account else "")]
    if limits.memory is not None:
        parts.append(f"at most {format_size(limits.memory)}")
    if limits.dead_after is not None:
        parts.append(
            f"dead after {format_duration(limits.dead_after)} below {limits.dead_below_percent:g} % of a processor"
        )
    parts.append(f"killed {format_duration(limits.grace_s)} after a request to stop")
    return text.clean("; ".join(parts))


def usage_text(job: Job) -> str:
    """What the job's processes have used; empty if nobody has looked, as at jobs in threads."""
    if job.usage is None or job.usage.get("attempt") != job.attempt:
        return ""
    cpu, memory, peak = (_number(job.usage, name) for name in ("cpu", "memory", "peak"))
    parts = [f"{cpu:.1f} s of a processor", f"{_size(peak)} of memory at most"]
    if memory and not job.state.is_terminal:
        parts.append(f"{_size(memory)} now")
    return "; ".join(parts)


def usage_brief(job: Job) -> str:
    """The same in a few characters, for a job that runs."""
    if job.usage is None or job.usage.get("attempt") != job.attempt or job.state.is_terminal:
        return ""
    return f"{_number(job.usage, 'cpu'):.0f} s cpu, {_size(_number(job.usage, 'memory'))}"


def isolated_text(report: Mapping[str, Any]) -> str:
    """What a node's jobs in processes of their own do, all together; empty if there are none."""
    found = report.get("isolated")
    if not isinstance(found, Mapping) or not _number(found, "running"):
        return ""
    number, percent, memory = (_number(found, name) for name in ("running", "percent", "memory"))
    return f"{number:.0f} ({percent:.0f} %, {_size(memory)})"


def _number(values: Mapping[str, Any], name: str) -> float:
    """A figure; what somebody else wrote in its place is none."""
    value = values.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _size(size: float) -> str:
    from jobrunner.quantities import format_size

    return format_size(size)
