"""``python -m bench.peers``: put jobrunner beside its peers, in one run on the same servers."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import machine, results, table
from bench.__main__ import DISK
from bench.peers import ours
from bench.peers.table import HEAD, cells
from bench.place import ROOT
from bench.servers import NotOnDisk, Servers, running
from tests.support.servers import BinaryMissing, ServerNotReady

PYTHON = ROOT / "bench" / ".venv" / "bin" / "python"
PEERS = ("celery_peer", "rq_peer", "dramatiq_peer", "procrastinate_peer", "dbos_peer")
DEADLINE_S = 120.0


class PeerFailed(Exception):
    """A peer could not be measured."""


def main() -> int:
    args = _parser().parse_args()
    if not PYTHON.exists():
        print("bench: the peers are not installed; `make bench-peers` does it", file=sys.stderr)
        return 2
    try:
        with running(args.directory, postgresql=True) as servers:
            described = machine.describe(servers)
            print(*machine.as_lines(described), sep="\n")
            found = [_measured(name, run) for name, run in _everybody(servers) if _is_wanted(name, args.only)]
    except (NotOnDisk, BinaryMissing, ServerNotReady) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print("", table.as_text(HEAD, [cells(peer) for peer in found]), sep="\n")
    for peer in found:
        if peer.get("error"):
            print(f"\n{peer['name']}: {peer['error']}")
    if not args.no_results:
        print("", results.write_peers(found, described), sep="\n")
    return int(any(peer.get("error") for peer in found))


def _everybody(servers: Servers) -> list[tuple[str, Callable[[], dict[str, Any]]]]:
    us = [(f"jobrunner, {where}", lambda where=where: ours.measure(servers, where)) for where in ours.PLACES]
    return [*us, *((name, lambda name=name: _peer(servers, name)) for name in PEERS)]


def _measured(name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    print(f"measuring {name} ...", file=sys.stderr)
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - the others are wanted all the same
        traceback.print_exc()
        return {"name": name, "error": f"{type(error).__name__}: {error}"}


def _peer(servers: Servers, module: str) -> dict[str, Any]:
    """Measure a peer in its own environment, on databases of its own."""
    assert servers.postgresql is not None
    redis_url, postgres_url = servers.redis.create_database(), servers.postgresql.create_database()
    directory = Path(tempfile.mkdtemp(prefix=f"{module}-", dir=servers.directory))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENCH_REDIS_URL": redis_url,
        "BENCH_POSTGRES_URL": postgres_url.replace("postgresql+psycopg://", "postgresql://"),
    }
    command = [str(PYTHON), "-m", "bench.peers.measure", module, str(directory)]
    try:
        done = subprocess.run(
            command, env=environment, cwd=directory, capture_output=True, text=True, timeout=DEADLINE_S
        )
        if done.returncode:
            log = directory / "worker.log"
            told = log.read_text(errors="replace")[-1500:] if log.exists() else ""
            raise PeerFailed(f"{done.stderr[-1500:]}\n{told}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    finally:
        servers.postgresql.drop_database(postgres_url)
        servers.redis.drop_database(redis_url)


def _is_wanted(name: str, only: list[str]) -> bool:
    return not only or name.startswith(tuple(only))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description="Measure jobrunner and its peers."
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="only those whose name starts so"
    )
    parser.add_argument(
        "--directory", type=Path, default=DISK, help=f"where data are kept, on a disk ({DISK})"
    )
    parser.add_argument("--no-results", action="store_true", help="print only; write no files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
