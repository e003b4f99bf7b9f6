"""Why something that is old enough to go stays all the same: somebody still needs it.

Asked right before each removal, of the ledger and the flow files as they stand then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from include.erasure.requests import ERASURES
from include.flow_files import KINDS, Delivery, IsalesFlow, PlatformSource, load_flows
from include.handed_in import kind_of
from include.house.places import Found
from include.leads.screening import looks_back
from include.ledger import Holding, Load
from include.leftovers import END_TIME
from include.snapshots import newest_snapshot
from include.staging import RunFolder, StagingError, run_path

Active = Callable[[str, Collection[str]], int]
"""How many runs of a DAG (its id) have not ended as Airflow knows it, but for some (their ids)."""

PULL: Final = "pull_platform_leads"
_DAGS: Final = {ERASURES: "erase_customer", "safe": "restore_list"}


@dataclass(frozen=True)
class Flows:
    """The flow files as they stand. :param broken: names of those that cannot be read."""

    deliveries: tuple[Delivery, ...]
    sources: frozenset[str]
    broken: tuple[str, ...]

    @classmethod
    def read(cls) -> Flows:
        """Read the flows folder."""
        read = [load_flows(kind) for kind in KINDS.values()]
        good = [flow for flows, _ in read for flow in flows]
        return cls(
            tuple(flow for flow in good if isinstance(flow, Delivery)),
            frozenset(flow.name for flow in good if isinstance(flow, PlatformSource)),
            tuple(sorted(wrong.error.file for _, broken in read for wrong in broken)),
        )

    def imports(self, dag_id: str) -> IsalesFlow | None:
        """The flow of this DAG, if it uploads workbooks."""
        found = (flow for flow in self.deliveries if flow.dag_id == dag_id)
        return next((flow for flow in found if isinstance(flow, IsalesFlow)), None)


class Needs:
    """What is needed at one moment.

    :param holding: what the ledger needs.
    :param active: asks Airflow for runs under way; None where there is no Airflow to ask.
    :param pending: runs (their folders) whose uploaded workbooks still lie on the file server.
    """

    def __init__(
        self,
        holding: Holding,
        flows: Flows,
        *,
        now: datetime,
        active: Active | None = None,
        pending: frozenset[str] = frozenset(),
    ) -> None:
        self._holding, self._flows, self._now = holding, flows, now
        self._active, self._pending = active, pending
        self._asked: dict[str, int] = {}

    def why(self, found: Found) -> str | None:
        """Why a place stays, in words; None when it may go."""
        top, name, *_ = found.place.path.split("/")
        if top == "runs":
            return self._run(found.place.path) or self._busy(name)
        if top == "snapshots":
            return self._used(found.place.path) or self._snapshot(found.place.path, name)
        if top == "pulls":
            return self._busy(f"{PULL}__{name.removesuffix('_calls')}")
        if top == "scrub":
            return self._scrub(found, name)
        return self._busy(_DAGS[top])

    def load(self, load_id: str) -> str | None:
        """Why the rows of a load stay in the ledger."""
        if why := self._open(lambda load: load.id == load_id):
            return why
        last = any(load.id == load_id for load in self._last_written())
        if last or load_id in self._holding.kept_loads:
            return "it tells what stands on its list"
        return None

    def callbacks(self, load_id: str) -> str | None:
        """Why what was called back about a load stays."""
        return self._open(lambda load: load.id == load_id)

    def claims(self, night: str, staged: frozenset[str]) -> str | None:
        """Why the claims of a night stay: its leads may still be delivered, and must know whose numbers are whose.

        :param staged: nights of which leads are staged.
        """
        if night in staged:
            return "leads of the night are staged"
        return self._open(lambda load: load.night == night)

    # Parts of the answer

    def _open(self, of: Callable[[Load], bool]) -> str | None:
        """Whether a load that is meant has not ended, or may have arrived without anybody knowing."""
        for load in self._holding.unfinished:
            if of(load):
                return f"load {load.id} of {load.flow} has not ended (if its run is gone: listkeeper resolve)"
        for load in self._holding.unresolved:
            if of(load):
                return f"load {load.id} of {load.flow} is not resolved"
        return None

    def _run(self, path: str) -> str | None:
        run = "/".join(path.split("/")[:3])
        if why := self._open(lambda load: run_path(load.dag_id, load.run_id, "").rstrip("/") == run):
            return why
        for claims in self._holding.claims.values():
            if any(claim.path == path for claim in claims):
                return "its numbers are claimed for a night that may still be delivered"
        if run in self._pending and path.endswith(("/workbooks", "/plan")):
            return "its workbooks lie on the file server"
        return self._used(path)

    def _used(self, path: str) -> str | None:
        """Whether a load, or the next one, reads the place by its path."""
        if why := self._open(lambda load: load.snapshot == path):
            return why
        for target, applied in self._holding.applied.items():
            if applied == path:
                return f"it tells what stands on {target}"
        for load in self._last_written():
            outcomes = run_path(load.dag_id, load.run_id, "outcomes")
            if path in (load.snapshot, outcomes) and self._left_over(load, outcomes):
                return f"leads that load {load.id} of {load.flow} left over go with the next night"
        return None

    def _last_written(self) -> Iterator[Load]:
        """The loads of the last two nights of every list, and what was handed in since: what they left over goes on.

        Two, because the last one's run may be cleared, and then takes along what the one before it left.
        """
        for loads in self._holding.written.values():
            nights: set[str] = set()
            for load in loads:
                if kind_of(load.run_id) is None:
                    nights.add(load.run_id)
                if len(nights) > 2:
                    break
                yield load

    def _left_over(self, load: Load, outcomes: str) -> bool:
        """Whether the next night takes leads of a load along."""
        goes_on = any(
            flow.goes_on and (flow.name, flow.target) == (load.flow, load.target)
            for flow in self._flows.deliveries
        )
        folder = RunFolder(outcomes)
        if not goes_on or not folder.exists():
            return False
        try:
            with folder.reading("*.parquet") as files:
                return any(
                    pl.read_parquet(file, columns=["reason"], glob=False)["reason"].eq_missing(END_TIME).any()
                    for file in files
                )
        except StagingError:
            return True  # nobody can tell

    def _snapshot(self, path: str, source: str) -> str | None:
        readers = [flow for flow in self._flows.deliveries if flow.source == source]
        looking = [
            flow for flow in self._flows.deliveries if flow.clean.calls and flow.clean.calls.source == source
        ]
        if self._flows.broken and source.endswith("_calls"):
            return f"{self._flows.broken[0]} is broken, so nobody knows which calls it looks at"
        if readers or looking or source in self._flows.sources or self._flows.broken:
            newest = newest_snapshot(source, None)
            if newest is not None and newest.path == path:
                return f"the newest night of {source}"
        if looking and (why := self._looked_at(path, source, looking)):
            return why
        return next((why for flow in [*readers, *looking] if (why := self._busy(flow.dag_id))), None)

    def _looked_at(self, path: str, source: str, looking: list[Delivery]) -> str | None:
        """Whether a flow's rules over calls look back as far as this night; only its newest snapshot counts."""
        newest = newest_snapshot(source, path.split("/")[2])
        if newest is None or newest.path != path:
            return None
        manifest = newest.manifest()
        until = manifest.source_time or manifest.created_at
        for flow in looking:
            back = looks_back(flow.clean)
            if back is None:
                return f"{flow.name} looks at the opt-outs of every staged night"
            if until >= self._now - back:
                return f"{flow.name} looks back {back / timedelta(days=1):g} days"
        return None

    def _scrub(self, found: Found, name: str) -> str | None:
        if self._flows.broken:
            return f"{self._flows.broken[0]} is broken, so nobody knows which answers it takes"
        for flow in self._flows.deliveries:
            for check in flow.clean.scrub:
                # A day more, as the clean step itself counts.
                if check.name == name and found.changed_at >= self._now - timedelta(
                    days=check.max_age_days + 1
                ):
                    return f"{flow.name} takes answers of {check.max_age_days} days"
        return None

    def _busy(self, dag_id: str) -> str | None:
        """Whether a run of a DAG is under way that has no load yet: nobody knows which places it works in."""
        if self._active is None:
            return None
        if dag_id not in self._asked:
            known = {load.run_id for load in self._holding.unfinished if load.dag_id == dag_id}
            self._asked[dag_id] = self._active(dag_id, known)
        return f"a run of {dag_id} is under way" if self._asked[dag_id] else None
