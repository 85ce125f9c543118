"""The table of jobs beside TaskFlow's own: a row a flow, kept by triggers, in jobrunner's words.

It tells nothing but what TaskFlow recorded of the flow, in the same transaction, for the history and the checks.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pymysql

TABLE = """CREATE TABLE jobs (id VARCHAR(64) PRIMARY KEY, type VARCHAR(255), state VARCHAR(32) NOT NULL,
    epoch BIGINT, attempt INT NOT NULL, owner VARCHAR(255), deaths INT NOT NULL,
    parked VARCHAR(16), node_pin VARCHAR(255))"""
ENDS = {"SUCCESS": "SUCCEEDED", "REVERTED": "REVERTED", "FAILURE": "FAILED"}
"""How a flow ended, and its job with it."""
_CASES = " ".join(f"WHEN '{flow}' THEN '{job}'" for flow, job in ENDS.items())
POSTED = """CREATE TRIGGER chaos_stock_posted AFTER INSERT ON flowdetails FOR EACH ROW
    INSERT INTO jobs VALUES (NEW.parent_uuid, NEW.name, 'WAITING', NULL, 1, NULL, 0, NULL, NULL)"""
CHANGED = f"""CREATE TRIGGER chaos_stock_changed AFTER UPDATE ON flowdetails FOR EACH ROW
    UPDATE jobs SET state = CASE NEW.state {_CASES} ELSE 'RUNNING' END
    WHERE id = NEW.parent_uuid AND NEW.state IS NOT NULL"""


def install(store_url: str) -> None:
    """Make the table and its triggers. TaskFlow's tables are there."""
    parts = urlsplit(store_url)
    with pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=parts.username, password=parts.password or "",
        database=parts.path[1:], autocommit=True,
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        for statement in (TABLE, POSTED, CHANGED):
            cursor.execute(statement)
