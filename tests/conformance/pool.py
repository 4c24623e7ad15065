"""The clusters that are up during a run: a case that does not hurt its cluster shares it with the others."""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.clusters import STANDARD, Cluster, Engine, Setup


@dataclass
class _Lent:
    engine: Engine
    setup: Setup | None
    cluster: Cluster
    fresh: bool


class Pool:
    """Keeps the standard cluster and the last one of another setup."""

    def __init__(self) -> None:
        self._lent: list[_Lent] = []
        self._used: dict[str, Engine] = {}

    def take(self, engine: Engine, setup: Setup | None, *, fresh: bool) -> Cluster:
        """A cluster of that setup; a fresh one is to be given to `drop`. Raises BuildError."""
        setup = setup or engine.usual
        if not fresh:
            for lent in self._lent:
                if lent.engine is engine and not lent.fresh and _serves(lent.setup, setup):
                    return lent.cluster
        for lent in list(self._lent):
            if engine.one_at_a_time or lent.engine is not engine or lent.setup not in (None, STANDARD):
                self.drop(lent.cluster)
        self._used[engine.name] = engine
        cluster = engine.begin(setup)
        self._lent.append(_Lent(engine, setup, cluster, fresh))
        return cluster

    def drop(self, cluster: Cluster) -> None:
        self._lent = [lent for lent in self._lent if lent.cluster is not cluster]
        cluster.close()

    def close(self) -> None:
        while self._lent:
            self.drop(self._lent[-1].cluster)
        for engine in self._used.values():
            engine.finish()


def _serves(have: Setup | None, wanted: Setup | None) -> bool:
    """A case without a setup of its own takes the standard one as well."""
    return have == wanted or (wanted is None and have == STANDARD)
