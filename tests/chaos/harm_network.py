"""Faults of the network: connections are reset or hang, one way or both, and COMMITs stay without answers."""

from __future__ import annotations

from tests.chaos.faults import Fault, NothingToBreak
from tests.chaos.proxy import BOTH, TO_CLIENT, TO_SERVER, Proxy
from tests.chaos.stage import BOARD, STORE, USERS


class OfNetwork(Fault):
    """Breaks what is between some clients and some servers; both are drawn."""

    disturbs = True
    weight = 6
    lasts = (0.5, 6.0)
    _proxies: list[Proxy]

    def start(self) -> str:
        clients = self.rng.choice([[self.draw.machine]] * 3 + [[*self.world.machines, USERS]])
        server = self.rng.choice([STORE, STORE, BOARD, "both"])
        self._proxies = [
            proxy
            for proxy in self.world.stage.proxies_of(clients, server)
            if not proxy.is_cut and not proxy.held
        ]
        if not self._proxies:
            raise NothingToBreak("it is cut already")
        for proxy in self._proxies:
            self.breaks(proxy)
        return f"between {', '.join(clients)} and {server}"

    def breaks(self, proxy: Proxy) -> None:
        raise NotImplementedError

    def heal(self) -> None:
        late = self.rng.random() < 0.5
        for proxy in self._proxies:
            proxy.heal(late=late)


class Cut(OfNetwork):
    """Connections are reset, and new ones too."""

    name = "cut the network"

    def breaks(self, proxy: Proxy) -> None:
        proxy.cut()


class Hold(OfNetwork):
    """Nothing passes."""

    name = "hold the network"

    def breaks(self, proxy: Proxy) -> None:
        proxy.hold(*BOTH)


class HoldQuestions(OfNetwork):
    """What servers send arrives, what is sent to them does not."""

    name = "hold questions"

    def breaks(self, proxy: Proxy) -> None:
        proxy.hold(TO_SERVER)


class HoldAnswers(OfNetwork):
    """What is sent to servers arrives, what they answer does not."""

    name = "hold answers"

    def breaks(self, proxy: Proxy) -> None:
        proxy.hold(TO_CLIENT)


class CutCommits(Fault):
    """Some COMMITs stay without an answer."""

    name = "cut commits"
    weight = 24
    disturbs = True
    lasts = (1.0, 3.0)

    def start(self) -> str:
        clients = self.rng.choice([[self.draw.machine], [*self.world.machines, USERS]])
        self._proxies = self.world.stage.proxies_of(clients, STORE)
        for proxy in self._proxies:
            proxy.cut_commits(self.rng.randint(1, 5))
        return f"of {', '.join(clients)}"

    def heal(self) -> None:
        for proxy in self._proxies:
            proxy.commits_to_cut = 0


KINDS: tuple[type[Fault], ...] = (Cut, Hold, HoldQuestions, HoldAnswers, CutCommits)
