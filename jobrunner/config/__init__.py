"""The configuration: read and validated once, then passed in.

What may be configured is told in :mod:`~jobrunner.config.sections`, two of them in modules of their own:
:mod:`~jobrunner.config.limits` and :mod:`~jobrunner.config.retention`. Where it is read from, and what overrides what,
is told in :mod:`~jobrunner.config.loading`.
"""

from __future__ import annotations

from jobrunner.config.files import data_directory, default_database, find_file, places
from jobrunner.config.limits import Limit, LimitsSection
from jobrunner.config.loading import LoadedConfig, load_config
from jobrunner.config.retention import RetentionRule, RetentionSection
from jobrunner.config.sections import (
    BoardSection,
    ConductorSection,
    Config,
    FlowsSection,
    OutputSection,
    PersistenceSection,
)
from jobrunner.config.sources import ENV_PREFIX

__all__ = [
    "ENV_PREFIX",
    "BoardSection",
    "ConductorSection",
    "Config",
    "FlowsSection",
    "Limit",
    "LimitsSection",
    "LoadedConfig",
    "OutputSection",
    "PersistenceSection",
    "RetentionRule",
    "RetentionSection",
    "data_directory",
    "default_database",
    "find_file",
    "load_config",
    "places",
]
