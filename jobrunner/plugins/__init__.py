"""Plugins: what can be posted, found in ``flows/`` and in installed packages.

A plugin registers job types and capabilities with decorators when it is imported. Its parts are imported when
they are first used: neither TaskFlow nor pydantic is needed to know what is registered.

Invariants:

- What a plugin does when it is imported harms no other plugin: it fails alone, and its problem is kept for
  people.
- The registry's contents change at once; whoever holds a job type keeps it, unchanged.
- A posting can make a conductor call a registered factory, or, in the classic form, a public function of the
  registered type's own plugin; nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobrunner.plugins.building import check_flow
    from jobrunner.plugins.capabilities import Evaluator, Verdict, check_reference
    from jobrunner.plugins.classic import classic_posting, running_classic_type
    from jobrunner.plugins.decorators import capability_names, job, register_capability, register_job
    from jobrunner.plugins.discovery import load_plugins, log_problems
    from jobrunner.plugins.graph import render
    from jobrunner.plugins.parameters import ParameterSet
    from jobrunner.plugins.registry import Capability, JobType, PluginProblem, Registry, default_registry
    from jobrunner.plugins.retrying import retries
    from jobrunner.plugins.skeleton import create_plugin
    from jobrunner.plugins.waiting_tasks import Sleep, WaitForSignal

_HOMES = {
    "building": ("check_flow",),
    "capabilities": ("Evaluator", "Verdict", "check_reference"),
    "classic": ("classic_posting", "running_classic_type"),
    "decorators": ("capability_names", "job", "register_capability", "register_job"),
    "discovery": ("load_plugins", "log_problems"),
    "graph": ("render",),
    "parameters": ("ParameterSet",),
    "registry": ("Capability", "JobType", "PluginProblem", "Registry", "default_registry"),
    "retrying": ("retries",),
    "skeleton": ("create_plugin",),
    "waiting_tasks": ("Sleep", "WaitForSignal"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Capability",
    "Evaluator",
    "JobType",
    "ParameterSet",
    "PluginProblem",
    "Registry",
    "Sleep",
    "Verdict",
    "WaitForSignal",
    "capability_names",
    "check_flow",
    "check_reference",
    "classic_posting",
    "create_plugin",
    "default_registry",
    "job",
    "load_plugins",
    "log_problems",
    "register_capability",
    "register_job",
    "render",
    "retries",
    "running_classic_type",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
