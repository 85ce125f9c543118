"""Faults that bring out a mutant, beside those of every run."""

from __future__ import annotations

import functools

from tests.chaos.faults import Fault, NothingToBreak
from tests.chaos.harm_machines import KillMachine
from tests.chaos.harm_servers import SQL_ERRORS
from tests.chaos.machines import Machine
from tests.chaos.proxy import TO_CLIENT, Proxy

LEADER = "SELECT holder FROM leases WHERE name = 'reconciler'"


class LateAnswers(Fault):
    """A machine's servers hear it, and it hears their answers only when its leases have run out: all of them."""

    name = "late answers"
    lasts = (1.6, 2.2)
    leases = True
    disturbs = True
    takes_away = True
    _proxies: tuple[Proxy, ...] = ()

    def start(self) -> str:
        found = self.world.stage.proxies_of([self.machine.name], "both")
        if any(proxy.is_cut or proxy.held for proxy in found):
            raise NothingToBreak("its answers are held already")
        self._proxies = tuple(found)
        for proxy in found:
            proxy.hold(TO_CLIENT)
        return self.machine.name

    def heal(self) -> None:
        for proxy in self._proxies:
            proxy.heal(late=True)


class KillLeader(KillMachine):
    """SIGKILL for all of the conductor that compares board and store."""

    name = "kill the leader"

    @functools.cached_property
    def machine(self) -> Machine:
        """The one that holds the lease; raises NothingToBreak if nobody does, or it is down."""
        try:
            rows = self.world.stage.query(LEADER)
        except SQL_ERRORS as error:
            raise NothingToBreak(str(error)) from error
        leader = self.world.machines.get(str(rows[0][0]).partition(":")[0]) if rows else None
        if leader is None or leader.down or leader.paused:
            raise NothingToBreak("nobody leads")
        return leader


KINDS: tuple[type[Fault], ...] = (LateAnswers, KillLeader)
