"""Platform API: pull the leads of one night into a snapshot, and prove that it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include.flow_files import PlatformSource
from include.nights import chosen_night
from listkeeper.masking import Masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from include.contract import Fields
    from include.snapshots import Shard
    from include.staging import RunFolder
    from include.vendors.platform import Page
    from listkeeper.hooks.platform import PlatformHook

STALE_WALK = timedelta(hours=6)
"""A walk that began longer ago than this starts over: the vendor may have dropped its cursors."""


def walked_pages(name: str, context: Context) -> RunFolder:
    """
    The pages that a run has walked for a source's snapshot of this name.

    They stay until its snapshot is counted: a try whose end nobody heard of (the API server was away) is tried again
    without asking the vendor for anything.
    """
    from include.staging import RunFolder, slug

    return RunFolder(f"pulls/{name}/{slug(context['dag_run'].run_id)}")


class PullOperator(Masked, BaseOperator):
    """
    Base of what walks lists of the Platform API page by page, and goes on after a crash behind the last good page.

    :param source: the source's flow file.
    :param night: ISO date of the night; None takes the run's partition, else the last night that is over. (templated)
    """

    template_fields: Sequence[str] = ("night",)

    def __init__(self, *, source: PlatformSource, night: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.night = night

    def chosen_night(self, context: Context, now: datetime) -> date:
        """The night of the form or the partition, else the last that is over. Refuses one that has not begun."""
        try:
            night = chosen_night(self.night, context["dag_run"].partition_key) or self.source.last_night(now)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        if self.about_night and self.source.window(night)[0] > now:
            raise AirflowFailException(
                f"The night {night} has not begun in {self.source.zone}; choose an earlier one."
            )
        return night

    @property
    def about_night(self) -> bool:
        """Whether what is pulled is of a night, and not as it stands."""
        return True

    def about_run(self, context: Context, name: str) -> dict[str, Any]:
        """What every snapshot says of the run that made it."""
        dag_run = context["dag_run"]
        return {
            "source": name,
            "run_id": dag_run.run_id,
            "run_type": str(dag_run.run_type.value),
            "requested_by": getattr(dag_run, "triggering_user_name", None),
        }

    def begun(self, pages: RunFolder, now: datetime) -> datetime:
        """When this pull began, over its tries; forgets a walk that is too old to go on."""
        raw = pages.get("started.txt")
        if raw is not None:
            started = datetime.fromisoformat(raw.decode())
            if now - started < STALE_WALK:
                return started
        # Also without a beginning, as a crash while removing leaves them: pages of an unknown age.
        pages.remove()
        pages.put("started.txt", now.isoformat().encode())
        return now

    def same_question(self, pages: RunFolder, shards: Sequence[Shard], queries: Sequence[Any]) -> None:
        """Throw away what was walked with other filters."""
        from include.vendors import platform

        question = "\n".join(platform.query_text(query) for query in queries).encode()
        if (pages.get("question.txt") or question) != question:
            self.log.warning("The filters have changed since the earlier try; the pull starts over.")
            for shard in shards:
                shard.forget()
        pages.put("question.txt", question)

    def walk(self, walks: Sequence[tuple[Shard, Callable[[PlatformHook, str], Page]]]) -> None:
        """
        Walk shards side by side, each to its end.

        :param walks: each shard, and what reads a page of it by its link.
        """
        from include.vendors.platform import BadCursorError, CursorLoopError
        from listkeeper.hooks.platform import PlatformHook

        # Connections are looked up here, in the task's own thread, and only then used by the others.
        hooks = [PlatformHook(self.source.connection) for _ in walks]
        for hook in hooks:
            hook.session()

        def walk(shard: Shard, fetch: Callable[[PlatformHook, str], Page], hook: PlatformHook) -> int:
            known = shard.progress().pages
            try:
                return shard.walk(lambda link: fetch(hook, link))
            except (BadCursorError, CursorLoopError):
                if not known:
                    raise
                self.log.warning(
                    "The way that an earlier try took is no way any more (the vendor has forgotten its cursor, or it "
                    "leads in a circle); this shard starts over."
                )
                shard.forget()
                return shard.walk(lambda link: fetch(hook, link))
            finally:
                hook.close()

        with ThreadPoolExecutor(len(walks), thread_name_prefix="shard") as pool:
            waiting = [
                pool.submit(walk, shard, fetch, hook)
                for (shard, fetch), hook in zip(walks, hooks, strict=True)
            ]
        # Each shard has kept its pages whatever became of the others; the first error ends this try.
        for done in waiting:
            done.result()


class PullLeadsOperator(PullOperator):
    """
    Pull leads from the Platform API, page by page, into one snapshot.

    The night's window is cut into shards that are pulled side by side. Every page is a checkpoint: a try after a crash
    goes on behind the last page of each shard. The snapshot appears whole or not at all. Let ReconcilePullOperator
    follow: it counts the snapshot and removes the pages.

    Returns `{"snapshot", "night", "rows"}`.

    :param source: the source's flow file.
    :param night: ISO date of the night; None takes the run's partition, else the last night that is over. (templated)
    """

    @property
    def about_night(self) -> bool:
        """Whether the leads of a night are pulled, and not the list as it stands."""
        return self.source.mode == "night"

    def execute(self, context: Context) -> dict[str, Any]:
        from include.snapshots import assemble, snapshot_place
        from include.staging import RunFolder, slug

        now = datetime.now(UTC)
        night = self.chosen_night(context, now)
        window = self.source.window(night) if self.about_night else None
        place = snapshot_place(self.source.name, night.isoformat())
        pages = walked_pages(self.source.name, context)
        started = self.begun(pages, now)
        shards = self._shards(pages, window)
        self.walk([(shard, self._fetch(query)) for shard, query in shards])
        judge = self._contract()
        source_time = min(window[1], started) if window else started
        snapshot = RunFolder(f"{place}/{now:%Y%m%dT%H%M%SZ}-{slug(context['dag_run'].run_id)}")
        pulled = assemble(
            pages,
            [shard for shard, _ in shards],
            snapshot,
            source_time=source_time.astimezone(UTC),
            night=night.isoformat(),
            facts={"mode": self.source.mode, **self.about_run(context, self.source.name)},
            judge=judge,
        )
        for change in snapshot.manifest().facts["contract"]:
            self.log.warning("The source has changed: %s.", change)
        self.log.info(
            "%d leads from %d pages: %d kept, %d unreadable, %d repeated; %d belong to other nights.",
            pulled.seen,
            pulled.pages,
            pulled.kept,
            pulled.bad,
            pulled.repeated,
            pulled.outside,
        )
        return {"snapshot": snapshot.path, "night": night.isoformat(), "rows": pulled.kept}

    def _contract(self) -> Callable[[Fields], list[str]]:
        """What judges the fields of this pull: against the source's file, or the newest snapshot before."""
        from include import contract
        from include.snapshots import newest_snapshot

        rules = self.source.contract
        newest = newest_snapshot(self.source.name, None)
        before = newest.manifest().facts.get("fields") if newest else None

        def judge(fields: Fields) -> list[str]:
            found = contract.changes(fields, before, rules)
            if found and rules.on_change == "stop":
                raise AirflowFailException(
                    f"The source has changed, so there is no snapshot: {'; '.join(found)}. If that is right, set "
                    "contract.on_change to warn for one night, or write the new fields under contract.fields; then "
                    "clear the pull."
                )
            return found

        return judge

    def _shards(self, pages: RunFolder, window: tuple[datetime, datetime] | None) -> list[tuple[Shard, Any]]:
        """The shards of the pull, each with its query. Pages of other filters are thrown away."""
        from include.snapshots import Shard
        from include.vendors import platform

        filters = self.source.filters.model_dump()
        windows = platform.window_shards(*window, self.source.shards) if window else [None]
        shards = []
        for number, part in enumerate(windows):
            since, until = part or (None, None)
            query = platform.LeadQuery(**filters, uploadedTimestampFrom=since, uploadedTimestampTo=until)
            shards.append((Shard(pages, number, query, part), query))
        self.same_question(pages, [shard for shard, _ in shards], [query for _, query in shards])
        return shards

    @staticmethod
    def _fetch(query: Any) -> Callable[[PlatformHook, str], Page]:
        return lambda hook, link: hook.list_leads(query, link)


class ReconcilePullOperator(Masked, BaseOperator):
    """
    Read the snapshot back and check that everything seen on a page ended somewhere; then tell who waits for it.

    Emits its outlets (the source's asset) for the night. Pushes the XCom `summary`.

    :param source: the source's flow file.
    :param pulled: what PullLeadsOperator or PullOutcomesOperator returned. (templated)
    """

    template_fields: Sequence[str] = ("pulled",)

    def __init__(self, *, source: PlatformSource, pulled: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.pulled = pulled

    def execute(self, context: Context) -> dict[str, Any]:
        import polars as pl

        from include.staging import RunFolder

        folder = RunFolder(self.pulled["snapshot"])
        manifest = folder.manifest()
        with folder.reading("*.parquet") as files:
            rows = {
                prefix: sum(
                    pl.scan_parquet(file, glob=False).select(pl.len()).collect().item()
                    for file in files
                    if file.name.startswith(prefix)
                )
                for prefix in ("part", "outcomes")
            }
        seen, name = manifest.facts["seen"], manifest.facts["source"]
        # Of calls: what another row is already, and activities that are no calls.
        elsewhere = manifest.facts.get("joined", 0) + manifest.facts.get("other", 0)
        good = rows["part"] == manifest.rows and rows["part"] + elsewhere + rows["outcomes"] == seen
        summary = {
            "flow": name,
            "rows_in": seen,
            "delivered": rows["part"] + elsewhere,
            "rejected": rows["outcomes"],
            "suppressed": 0,
            "held": 0,
            "uncertain": 0,
            "verdict": "pulled" if good else "failed",
            "night": self.pulled["night"],
            "report": folder.path,
        }
        context["ti"].xcom_push(key="summary", value=summary)
        walked_pages(name, context).remove()
        if not good:
            what = "leads" if name == self.source.name else "calls and activities"
            raise AirflowFailException(
                f"{seen} {what} were seen on pages, but the snapshot holds {rows['part'] + elsewhere} and its rejects "
                f"{rows['outcomes']}. Clear the pull to make it again."
            )
        self._announce(context)
        return summary

    def _announce(self, context: Context) -> None:
        """Name the night on the asset event, so that deliveries follow a run by hand as well."""
        for outlet in self.outlets:
            event = context["outlet_events"][outlet]
            event.extra = {"snapshot": self.pulled["snapshot"], "night": self.pulled["night"]}
            if context["dag_run"].partition_key is None:
                event.add_partitions([self.pulled["night"]])
