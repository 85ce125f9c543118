"""Which settings of a SQL server are told as wrong, and how."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from jobrunner.jobs.health import Finding, Health, Reporter
from jobrunner.jobs.health.settings import wrong_settings
from jobrunner.jobs.health.store import clock_finding, sessions_findings, version_finding
from jobrunner.persistence.server.server_version import ServerVersion

GOOD = {
    "mysql": {
        "innodb_flush_log_at_trx_commit": "1",
        "sql_mode": "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
        "log_bin": "ON",
        "binlog_format": "MIXED",
        "read_only": "OFF",
        "max_allowed_packet": str(16 << 20),
        "wsrep_on": "OFF",
        "isolation level": "READ COMMITTED",
    },
    "postgresql": {
        "fsync": "on",
        "synchronous_commit": "remote_apply",
        "full_page_writes": "on",
        "default_transaction_read_only": "off",
        "server_encoding": "UTF8",
        "in_recovery": "off",
        "isolation level": "READ COMMITTED",
    },
    "sqlite": {"journal_mode": "wal", "isolation level": "SERIALIZABLE"},
}


def told(dialect: str, **changed: str) -> list[Finding]:
    values: Mapping[str, str] = {
        **GOOD[dialect],
        **{name.replace("__", " "): text for name, text in changed.items()},
    }
    return list(wrong_settings(dialect, values, Reporter("store")))


@pytest.mark.parametrize("dialect", sorted(GOOD))
def test_good_settings_are_not_mentioned(dialect: str) -> None:
    assert told(dialect) == []


@pytest.mark.parametrize(
    ("dialect", "name", "value", "health", "hint"),
    [
        ("mysql", "innodb_flush_log_at_trx_commit", "2", Health.ERROR, "innodb_flush_log_at_trx_commit=1"),
        ("mysql", "sql_mode", "NO_ENGINE_SUBSTITUTION", Health.ERROR, "STRICT_TRANS_TABLES"),
        ("mysql", "binlog_format", "STATEMENT", Health.ERROR, "binlog_format=ROW"),
        ("mysql", "read_only", "ON", Health.ERROR, "takes writes"),
        ("mysql", "max_allowed_packet", str(1 << 20), Health.WARNING, "max_allowed_packet=16M"),
        ("mysql", "wsrep_on", "ON", Health.WARNING, "the same node"),
        ("mysql", "isolation__level", "REPEATABLE READ", Health.ERROR, "READ COMMITTED"),
        ("postgresql", "fsync", "off", Health.ERROR, "fsync=on"),
        ("postgresql", "synchronous_commit", "off", Health.ERROR, "synchronous_commit=on"),
        ("postgresql", "full_page_writes", "off", Health.WARNING, "full_page_writes=on"),
        ("postgresql", "server_encoding", "LATIN1", Health.ERROR, "UTF8"),
        ("postgresql", "server_encoding", "SQL_ASCII", Health.ERROR, "UTF8"),
        ("postgresql", "in_recovery", "on", Health.ERROR, "primary"),
        ("sqlite", "journal_mode", "delete", Health.ERROR, "local disk"),
    ],
)
def test_each_wrong_setting_is_told_with_what_to_do(
    dialect: str, name: str, value: str, health: Health, hint: str
) -> None:
    (finding,) = told(dialect, **{name: value})
    assert finding.health is health
    assert finding.hint is not None
    assert hint in finding.hint


def test_statement_format_matters_only_with_a_binary_log() -> None:
    assert told("mysql", log_bin="OFF", binlog_format="STATEMENT") == []


@pytest.mark.parametrize(
    ("product", "number", "health"),
    [
        ("MariaDB", (10, 5, 9), Health.ERROR),
        ("MariaDB", (10, 6, 0), Health.OK),
        ("MySQL", (5, 7, 44), Health.ERROR),
        ("PostgreSQL", (12, 3), Health.ERROR),
        ("PostgreSQL", (13, 0), Health.OK),
        ("SQLite", (3, 34, 1), Health.ERROR),
    ],
)
def test_old_servers_are_told(product: str, number: tuple[int, ...], health: Health) -> None:
    version = ServerVersion(product=product, number=number, text=".".join(map(str, number)))
    finding = version_finding(version)
    assert finding.health is health
    assert version.text in finding.what


@pytest.mark.parametrize(
    ("ahead", "uncertain", "words"),
    [(0.4, 0.0, "agree"), (3.0, 2.5, "agree"), (3.0, 0.1, "3.0 s ahead"), (-61.0, 0.1, "61.0 s behind")],
)
def test_clocks_that_differ_by_more_than_can_be_measured_are_told(
    ahead: float, uncertain: float, words: str
) -> None:
    assert words in clock_finding(ahead, uncertain=uncertain).what


def test_a_pooler_that_shares_sessions_is_told() -> None:
    assert list(sessions_findings(17, 18)) == []
    [found] = sessions_findings(17, 17)
    assert found.health is Health.ERROR
    assert found.hint is not None
    assert "session mode" in found.hint
