"""House-keeping: a plan of what would go, and taking away exactly that, each thing looked at again right before.

Nothing goes that the plan does not name, and nothing that it names when somebody needs it by then. Each removal is
noted in the ledger before it happens; what a crash interrupts is looked at again by the next run, and the evidence
counts what is gone, once.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

from include import staging
from include.erasure.erased import SUPPRESSED
from include.flow_files import IsalesFlow
from include.house.days import CLASSES, KeepDays
from include.house.needs import Active, Flows, Needs
from include.house.places import Found, Survey, is_place, survey
from include.ledger import Holding, Ledger, Removal, UnknownLoadError
from include.ledger.removals import Forgettable
from include.plan import PLAN
from include.staging import RunFolder, StagingError
from include.vendors.errors import VendorError

log = logging.getLogger(__name__)

LEFT_ALONE: Final = (SUPPRESSED,)
"""Folders that are known, and never touched."""

LEDGER: Final = ("claims", "callbacks", "history")
"""Classes that are rows of the ledger; of claims the folders go by themselves, as working files."""

UPLOADS: Final = "uploads"
NAMED: Final = 20
"""Things of one kind that a report names singly."""


class FileServers(Protocol):
    """The file servers that flows upload to."""

    def remove(self, flow: IsalesFlow, name: str) -> bool:
        """Remove a file that the flow uploaded; whether it was there. Raises VendorError."""


@dataclass(frozen=True)
class Item:
    """One thing that may go.

    :param kept: its class.
    :param place: where it is: below the staging root; `uploads/<flow>/<file>`; `<class>/<what>` in the ledger.
    :param pieces: files, or rows of the ledger.
    """

    kept: str
    place: str
    pieces: int
    bytes: int
    age_days: float


@dataclass(frozen=True)
class Stays:
    """Something that is old enough to go, and stays."""

    kept: str
    place: str
    why: str


@dataclass
class HousePlan:
    """What would go, and what stays although it is old.

    :param young: class -> things whose days are not over.
    :param unknown: folders that nobody here knows.
    :param notes: what a person should know about the settings.
    """

    items: list[Item] = field(default_factory=list)
    stays: list[Stays] = field(default_factory=list)
    young: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> HousePlan:
        """Read what `to_json` wrote."""
        items = [Item(**item) for item in raw["items"]]
        stays = [Stays(**stay) for stay in raw["stays"]]
        return cls(items, stays, dict(raw["young"]), list(raw["unknown"]), list(raw["notes"]))

    def count(self) -> dict[str, dict[str, int]]:
        """Class -> items, pieces and bytes that would go; every class, in order."""
        counts = {kept: Counter(items=0, pieces=0, bytes=0) for kept in CLASSES}
        for item in self.items:
            counts[item.kept].update(items=1, pieces=item.pieces, bytes=item.bytes)
        return {kept: dict(count) for kept, count in counts.items()}


@dataclass
class Cleaned:
    """What became of a plan.

    :param removed: as the evidence has it: class -> items, pieces, bytes, days. What an earlier run removed and did not
        come to tell is in it.
    :param stayed: what the plan names and is needed by now.
    :param failed: place -> what went wrong, without anybody's data.
    """

    removed: dict[str, dict[str, int]]
    stayed: list[Stays]
    failed: dict[str, str]


@dataclass(frozen=True)
class _Upload:
    """A workbook on a file server: its place, the folder of its run, when its load ended, whose it is."""

    place: str
    run: str
    ended: datetime
    flow: IsalesFlow

    def why(self) -> str | None:
        """Why it stays: somewhere else lies what we know nothing of."""
        plan = json.loads(RunFolder(f"{self.run}/plan").get(PLAN) or b"{}")
        folder = plan.get("options", {}).get("folder", self.flow.folder)
        return None if folder == self.flow.folder else f"{self.flow.name} uploads to another folder by now"


class House:
    """
    The house, as it stands.

    :param active: asks Airflow for runs under way; None where there is no Airflow.
    :param servers: removes uploads; None leaves them where they are.
    """

    def __init__(
        self,
        ledger: Ledger,
        days: KeepDays,
        *,
        active: Active | None = None,
        servers: FileServers | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger, self._days, self._active, self._servers, self._now = ledger, days, active, servers, now
        self._flows = Flows((), frozenset(), ())  # as they stand when the cleaning begins

    # The plan

    def plan(self) -> HousePlan:
        """Look through everything; removes nothing."""
        flows, now = Flows.read(), self._now()
        here = survey(staging.files(), LEFT_ALONE)
        holding = self._ledger.holding()
        uploads = list(self._uploads(here, flows, holding))
        needs = self._needs(holding, flows, frozenset(upload.run for upload in uploads))
        plan = HousePlan(unknown=here.unknown, notes=list(_notes(flows, self._days)))
        young: Counter[str] = Counter()

        def judge(
            kept: str, place: str, changed_at: datetime, pieces: int, size: int, why: Callable[[], str | None]
        ) -> None:
            if not self._old(kept, changed_at, now):
                young[kept] += 1
            elif reason := why():
                plan.stays.append(Stays(kept, place, reason))
            else:
                plan.items.append(
                    Item(kept, place, pieces, size, round((now - changed_at) / timedelta(days=1), 1))
                )

        staged = _staged_nights(here)
        for (group, night), claims in sorted(holding.claims.items()):
            kept_for = partial(needs.claims, night, staged)
            judge("claims", f"claims/{group}/{night}", _over(night), len(claims), 0, kept_for)
        for upload in uploads:
            judge(UPLOADS, upload.place, upload.ended, 1, 0, upload.why)
        for found in here.found.values():
            why = partial(needs.why, found)
            judge(found.place.kept, found.place.path, found.changed_at, found.files, found.bytes, why)
        for load, bodies, came in self._rows("callbacks", self._ledger.called_back):
            judge("callbacks", f"callbacks/{load}", came, bodies, 0, partial(needs.callbacks, load))
        for load, rows, ended in self._rows("history", self._ledger.ended_loads):
            judge("history", f"history/{load}", ended, rows, 0, partial(needs.load, load))
        plan.young = dict(young)
        return plan

    def _old(self, kept: str, changed_at: datetime, now: datetime) -> bool:
        days = self._days.of(kept)
        return days is not None and changed_at < now - timedelta(days=days)

    def _needs(self, holding: Holding, flows: Flows, pending: frozenset[str]) -> Needs:
        return Needs(holding, flows, now=self._now(), active=self._active, pending=pending)

    def _rows(
        self, kept: str, read: Callable[[datetime], list[tuple[str, int, datetime]]]
    ) -> list[tuple[str, int, datetime]]:
        days = self._days.of(kept)
        return [] if days is None else read(self._now() - timedelta(days=days))

    def _uploads(self, here: Survey, flows: Flows, holding: Holding) -> Iterator[_Upload]:
        """Workbooks that lie on a file server.

        Only those that a run folder of ours names and whose load is settled: what lies beside them is not ours.
        """
        if self._days.of(UPLOADS) is None:
            return
        open_loads = {load.id for load in (*holding.unfinished, *holding.unresolved)}
        for path in here.found:
            run, _, step = path.rpartition("/")
            flow = (
                flows.imports(path.split("/")[1])
                if step == "workbooks" and path.startswith("runs/")
                else None
            )
            if flow is None:
                continue
            try:
                facts = RunFolder(path).manifest().facts
                load = self._ledger.load(str(facts["stem"]).rpartition("-")[2])
            except (StagingError, UnknownLoadError, KeyError):
                continue
            if load.id in open_loads or load.finished_at is None:
                continue
            for file in facts["files"]:
                place = f"{UPLOADS}/{flow.name}/{file['name']}"
                if self._ledger.removal_of(place) is None:
                    yield _Upload(place, run, load.finished_at, flow)

    # The cleaning

    def clean_up(self, plan: HousePlan, about: Mapping[str, Any]) -> Cleaned:
        """Take away what a plan names, and what an earlier run was about to take away when it broke off.

        :param about: goes into the evidence beside the counts.
        """
        stayed: list[Stays] = []
        failed: dict[str, str] = {}
        begun = {
            removal.place: Item(removal.kept, removal.place, removal.pieces, removal.bytes, 0.0)
            for removal in self._ledger.interrupted_removals()
        }
        self._flows = Flows.read()
        for path in survey(staging.files(), LEFT_ALONE).remains:
            staging.remove(path)
        for item in [*begun.values(), *(item for item in plan.items if item.place not in begun)]:
            try:
                why = self._take(item, begun=item.place in begun)
            except (OSError, VendorError, StagingError) as error:
                ours = isinstance(error, (VendorError, StagingError))
                failed[item.place] = str(error) if ours else type(error).__name__
                log.warning("%s stays: %s", item.place, failed[item.place])
                continue
            if why:
                stayed.append(Stays(item.kept, item.place, why))
        record = self._ledger.tell_removed({**about, "stayed": len(stayed), "failed": len(failed)})
        if (history := self._days.of("history")) is not None:
            self._ledger.forget_old_removals(self._now() - timedelta(days=history))
        return Cleaned(
            {kept: dict(counts) for kept, counts in record.body["removed"].items()}, stayed, failed
        )

    def _take(self, item: Item, *, begun: bool) -> str | None:
        """Take one thing away; why it stays, when it does."""
        days = self._days.of(item.kept)
        if days is None:
            if begun:
                self._ledger.end_removal(item.place, gone=False)
            return f"{item.kept} are kept for ever by now"
        removal = Removal(item.place, item.kept, days, item.pieces, item.bytes, self._now(), None, None)
        if item.kept in LEDGER:
            return self._forget(item, removal)
        if item.kept == UPLOADS:
            return self._take_upload(item, removal, begun=begun)
        return self._take_place(item, removal, begun=begun)

    def _take_place(self, item: Item, removal: Removal, *, begun: bool) -> str | None:
        if not is_place(item.place, item.kept):
            return "house-keeping does not know such a place"
        found, why = self._look(item)
        if found is None:
            # Gone before we came: by our own hand, if that was noted.
            if begun:
                self._ledger.end_removal(item.place, gone=True)
            return why
        if why is not None:
            if begun:
                self._ledger.end_removal(item.place, gone=False)
            return why
        if not begun:
            self._ledger.intend_removal(replace(removal, pieces=found.files, bytes=found.bytes))
        staging.remove(item.place)
        staging.prune(item.place)
        self._ledger.end_removal(item.place, gone=True)
        return None

    def _look(self, item: Item) -> tuple[Found | None, str | None]:
        """A place as it stands now, and why it stays by now."""
        scope = "/".join(item.place.split("/")[:3]) if item.place.startswith("runs/") else item.place
        here = survey(staging.files(scope), LEFT_ALONE)
        found = here.found.get(item.place)
        if found is None:
            return None, None
        if not self._old(item.kept, found.changed_at, self._now()):
            return found, "it was written to since"
        flows, holding = self._flows, self._ledger.holding()
        pending = frozenset(upload.run for upload in self._uploads(here, flows, holding))
        return found, self._needs(holding, flows, pending).why(found)

    def _take_upload(self, item: Item, removal: Removal, *, begun: bool) -> str | None:
        here = survey(staging.files("runs"), LEFT_ALONE)
        uploads = self._uploads(here, self._flows, self._ledger.holding())
        upload = next((upload for upload in uploads if upload.place == item.place), None)
        if upload is None or self._servers is None or not self._old(UPLOADS, upload.ended, self._now()):
            why: str | None = "no settled load of ours says any more that it lies there"
        else:
            why = upload.why()
        if upload is None or self._servers is None or why is not None:
            if begun:
                self._ledger.end_removal(item.place, gone=False)
            return why
        if not begun:
            self._ledger.intend_removal(removal)
        was_there = self._servers.remove(upload.flow, item.place.rpartition("/")[2])
        if not was_there and not begun:
            self._ledger.intend_removal(replace(removal, pieces=0))
        self._ledger.end_removal(item.place, gone=True)
        return None

    def _forget(self, item: Item, removal: Removal) -> str | None:
        """Forget rows of the ledger, if they are still old, and needed by nobody."""
        what: Forgettable
        kind, *key = item.place.split("/")
        if kind == "claims":
            group, night = key
            what, old = ("claims", group, night), self._old(kind, _over(night), self._now())
            staged = _staged_nights(survey(staging.files("snapshots"), LEFT_ALONE))

            def ask(needs: Needs) -> str | None:
                return needs.claims(night, staged)

        else:
            (load,) = key
            what = ("callbacks", load) if kind == "callbacks" else ("history", load)
            of_kind = self._ledger.called_back if kind == "callbacks" else self._ledger.ended_loads
            moments = {found: moment for found, _, moment in self._rows(kind, of_kind)}
            old = load in moments and self._old(kind, moments[load], self._now())

            def ask(needs: Needs) -> str | None:
                return needs.callbacks(load) if kind == "callbacks" else needs.load(load)

        why: list[str | None] = []

        def may_go(holding: Holding) -> bool:
            why.append(ask(self._needs(holding, self._flows, frozenset())))
            return why[0] is None

        if not old:
            return "it is not old any more"
        self._ledger.forget(removal, what, may_go)
        return why[0]


def _over(night: str) -> datetime:
    """When a night (ISO date) was over, whatever its zone."""
    return datetime.fromisoformat(night).replace(tzinfo=UTC) + timedelta(days=1)


def _staged_nights(here: Survey) -> frozenset[str]:
    """Nights of which leads are staged, of whatever source."""
    return frozenset(path.split("/")[2] for path, found in here.found.items() if found.place.kept == "leads")


def _notes(flows: Flows, days: KeepDays) -> Sequence[str]:
    """Settings that do not go together."""
    working = days.of("working")
    notes = [f"{file} is broken: what its flow may need is kept." for file in flows.broken]
    return notes + [
        f"{flow.name} compares each night with {flow.guards.drift.nights} nights before (guards.drift.nights), but "
        f"working files stay {working} days."
        for flow in flows.deliveries
        if working is not None and flow.guards.drift.when != "ignore" and flow.guards.drift.nights > working
    ]
