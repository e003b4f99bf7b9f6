"""
### Pull leads from the Platform API, one snapshot a night

One DAG per source file (`kind: pull_platform_leads` in the flows folder).

**When.** Every night at the source's schedule, in the source's zone; each run is a *partition* named by its night, the
calendar day that has just ended. A backfill over a range of dates rebuilds those nights one by one; the deliveries
that follow it only plan.

**What.** `pull` cuts the night into shards, walks their pages side by side and writes every page down as a checkpoint.
`reconcile` reads the snapshot back, counts it against the pages, and only then emits the asset that starts the
deliveries. With `outcomes` in the source's file, `pull_outcomes` stages the night's calls in the same way beside it, as
`<name>_calls`, and the deliveries wait for them too: their rules over calls (`clean.calls`) read them.

**By hand.** Trigger it and choose a night, or leave the field empty for the last night that is over.

**When it fails.** Read the log of `pull`: it names the filter, the page or the connection. Clearing the task goes on
behind the last good page. A cut, repeated or looping page never becomes a short snapshot: the run stays red.

**May it be run again?** Yes. Reading changes nothing at the vendor, and every run makes a snapshot of its own; a
delivery takes the newest complete one of its night.
"""

from __future__ import annotations

from airflow.sdk import DAG, CronPartitionTimetable
from listkeeper.flow import broken_flow_dag, defaults, night_param, source_asset, tags
from listkeeper.operators.platform import PullLeadsOperator, ReconcilePullOperator
from listkeeper.operators.platform_outcomes import PullOutcomesOperator

from include.flow_files import PlatformSource, load_flows

sources, broken_files = load_flows(PlatformSource)

for source in sources:
    with DAG(
        dag_id=source.dag_id,
        description=source.title,
        doc_md=__doc__,
        schedule=CronPartitionTimetable(
            source.schedule, timezone=source.zone, run_offset=-1, key_format="%Y-%m-%d"
        ),
        catchup=False,
        max_active_runs=2,
        default_args=defaults(source.owner),
        tags=tags(source, "pull", "platform"),
        params={"night": night_param()},
        render_template_as_native_obj=True,
    ) as dag:
        pull = PullLeadsOperator(
            task_id="pull", source=source, night="{{ params.night }}", pool="platform_api", pool_slots=1
        )
        reconcile = ReconcilePullOperator(
            task_id="reconcile", source=source, pulled=pull.output, outlets=[source_asset(source.name)]
        )
        if source.outcomes:
            pull_outcomes = PullOutcomesOperator(
                task_id="pull_outcomes",
                source=source,
                night="{{ params.night }}",
                pool="platform_api",
                pool_slots=1,
            )
            counted = ReconcilePullOperator(
                task_id="reconcile_outcomes", source=source, pulled=pull_outcomes.output
            )
            counted >> reconcile
    globals()[source.dag_id] = dag

for broken in broken_files:
    globals()[broken.dag_id] = broken_flow_dag(broken)
