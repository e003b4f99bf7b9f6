"""Platform API: pull what became of the leads (dialler calls, activities, campaign statistics) into a snapshot."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.flow_files import PlatformSource
from include.flow_files.platform import Outcomes
from listkeeper.operators.platform import PullOperator, walked_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from include.snapshots import Shard
    from include.staging import RunFolder
    from include.vendors.platform import Page
    from listkeeper.hooks.platform import PlatformHook

    Walks = list[tuple[Shard, Callable[[PlatformHook, str], Page]]]
    Windows = list[tuple[datetime, datetime]]


class PullOutcomesOperator(PullOperator):
    """
    Pull the calls of a night, and of the days before that the flow file names, into one snapshot `<source>_calls`.

    As for leads: windows side by side, every page a checkpoint, the snapshot whole or not at all. Let
    ReconcilePullOperator follow: it counts the snapshot and removes the pages.

    Returns `{"snapshot", "night", "rows"}`.

    :param source: the source's flow file; it must have the section `outcomes`.
    :param night: as for PullLeadsOperator. (templated)
    """

    def __init__(self, *, source: PlatformSource, **kwargs: Any) -> None:
        super().__init__(source=source, **kwargs)
        if source.outcomes is None:
            raise ValueError(f"Source {source.name} has no section `outcomes`.")
        self.wanted: Outcomes = source.outcomes

    def execute(self, context: Context) -> dict[str, Any]:
        from include.call_snapshots import assemble_calls, calls_of
        from include.snapshots import snapshot_place
        from include.staging import RunFolder, slug
        from include.vendors import platform

        now = datetime.now(UTC)
        night, name = self.chosen_night(context, now), calls_of(self.source.name)
        first, _ = self.source.window(night - timedelta(days=self.wanted.days - 1))
        _, end = self.source.window(night)
        pages = walked_pages(name, context)
        started = self.begun(pages, now)
        windows = platform.window_shards(first, end, self.source.shards)
        calls, activities = self._walks(pages, windows)
        self.walk([*calls, *activities])
        snapshot = RunFolder(
            f"{snapshot_place(name, night.isoformat())}/{now:%Y%m%dT%H%M%SZ}-{slug(context['dag_run'].run_id)}"
        )
        counts = assemble_calls(
            pages,
            [shard for shard, _ in calls],
            [shard for shard, _ in activities],
            self._statistics(pages),
            snapshot,
            source_time=min(end, started).astimezone(UTC),
            night=night.isoformat(),
            facts=self.about_run(context, name),
        )
        self.log.info(
            "%(seen)d calls and activities from %(pages)d pages: %(kept)d calls kept (%(joined)d in both lists, "
            "%(wrapped)d with a wrap code, %(inbound)d came in), %(other)d are no calls, %(bad)d unreadable, "
            "%(repeated)d repeated; %(outside)d belong to other nights.",
            counts,
        )
        return {"snapshot": snapshot.path, "night": night.isoformat(), "rows": counts["kept"]}

    def _walks(self, pages: RunFolder, windows: Windows) -> tuple[Walks, Walks]:
        """The shards of both lists, each with what reads its pages. Pages of other filters are thrown away."""
        from include.call_snapshots import ACTIVITIES, CALLS
        from include.snapshots import Shard
        from include.vendors import platform

        calls: Walks = []
        activities: Walks = []
        questions: list[Any] = []
        for number, window in enumerate(windows):
            since, until = window
            if self.wanted.calls:
                asked = platform.CallQuery(
                    campaignId=self.wanted.campaign, dialledTimestampFrom=since, dialledTimestampTo=until
                )
                shard = Shard(pages, number, asked, window, CALLS, "c")
                calls.append((shard, self._read_calls(asked)))
                questions.append(asked)
            if self.wanted.activities:
                told = platform.ActivityQuery(
                    campaignId=self.wanted.campaign, createdTimestampFrom=since, createdTimestampTo=until
                )
                shard = Shard(pages, number, told, window, ACTIVITIES, "a")
                activities.append((shard, self._read_activities(told)))
                questions.append(told)
        self.same_question(pages, [shard for shard, _ in [*calls, *activities]], questions)
        return calls, activities

    @staticmethod
    def _read_calls(query: Any) -> Callable[[PlatformHook, str], Page]:
        return lambda hook, link: hook.list_calls(query, link)

    @staticmethod
    def _read_activities(query: Any) -> Callable[[PlatformHook, str], Page]:
        return lambda hook, link: hook.list_activities(query, link)

    def _statistics(self, pages: RunFolder) -> dict[str, Any]:
        """What each campaign says of itself, asked once in a pull, whatever its tries."""
        from listkeeper.hooks.platform import PlatformHook

        found: dict[str, Any] = {}
        hook = PlatformHook(self.source.connection)
        asked = [("outbound", campaign) for campaign in self.wanted.outbound_statistics]
        asked += [("inbound", campaign) for campaign in self.wanted.inbound_statistics]
        try:
            for kind, campaign in asked:
                kept = pages.get(f"{kind}-{campaign}.json")
                if kept is not None:
                    found[f"{kind} {campaign}"] = json.loads(kept)
                    continue
                answer = (
                    hook.outbound_statistics(campaign)
                    if kind == "outbound"
                    else hook.inbound_statistics(campaign, "day")
                )
                pages.put(f"{kind}-{campaign}.json", json.dumps(answer).encode())
                found[f"{kind} {campaign}"] = answer
        finally:
            hook.close()
        return found
