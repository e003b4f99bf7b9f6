"""Targets, loads, batches, callbacks, events and evidence."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "targets",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("paused_by", sa.Text()),
        sa.Column("paused_why", sa.Text()),
        sa.Column("paused_at", MOMENT),
        sa.Column("lock_load_id", sa.Text()),
        sa.Column("lock_until", MOMENT),
        sa.Column("fence_source_time", MOMENT),
        sa.Column("applied_source_time", MOMENT),
        sa.Column("applied_plan_hash", sa.Text()),
        sa.Column("applied_load_id", sa.Text()),
        sa.Column("applied_rows", sa.Integer()),
        sa.Column("applied", sa.Text()),
        sa.Column("applied_at", MOMENT),
        sa.PrimaryKeyConstraint("key", name="pk_targets"),
    )
    op.create_table(
        "loads",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("flow", sa.Text(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("dag_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("night", sa.Text()),
        sa.Column("source_time", MOMENT, nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("plan_hash", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("rows_in", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text()),
        sa.Column("verdict", sa.Text()),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.PrimaryKeyConstraint("number", name="pk_loads"),
        sa.UniqueConstraint("id", name="uq_loads_id"),
        sa.UniqueConstraint("dag_id", "run_id", "plan_hash", name="uq_loads_dag_id_run_id_plan_hash"),
        sa.ForeignKeyConstraint(["target"], ["targets.key"], name="fk_loads_target"),
        sa.CheckConstraint("mode IN ('apply', 'plan')", name=op.f("ck_loads_mode")),
        sa.CheckConstraint(
            "state IN ('open', 'done', 'failed', 'refused', 'planned', 'uncertain')",
            name=op.f("ck_loads_state"),
        ),
    )
    op.create_index("ix_loads_flow", "loads", ["flow"])
    op.create_table(
        "batches",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("load_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("maybe_sent", sa.Boolean(), nullable=False),
        sa.Column("delivered", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("uncertain", sa.Integer(), nullable=False),
        sa.Column("vendor_ref", sa.Text()),
        sa.Column("answer", sa.Text()),
        sa.Column("vendor_counts", sa.Text(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("intended_at", MOMENT),
        sa.Column("accepted_at", MOMENT),
        sa.Column("settled_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.UniqueConstraint("load_id", "seq", name="uq_batches_load_id_seq"),
        sa.ForeignKeyConstraint(["load_id"], ["loads.id"], name="fk_batches_load_id"),
        sa.CheckConstraint(
            "state IN ('planned', 'intended', 'accepted', 'confirmed', 'rejected', 'uncertain')",
            name=op.f("ck_batches_state"),
        ),
        sa.CheckConstraint(
            "state IN ('planned', 'intended', 'accepted') OR delivered + rejected + uncertain = rows",
            name=op.f("ck_batches_sum"),
        ),
    )
    op.create_table(
        "callbacks",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_callbacks"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_callbacks_batch_id"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("batch_id", "digest", name="uq_events_batch_id_digest"),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name="fk_events_batch_id"),
    )
    op.create_table(
        "evidence",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("load_id", sa.Text()),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("recorded_at", MOMENT, nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_evidence"),
    )
    head = op.create_table(
        "evidence_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_evidence_head"),
        sa.CheckConstraint("id = 1", name=op.f("ck_evidence_head_one_row")),
    )
    op.bulk_insert(head, [{"id": 1, "count": 0, "hash": "0" * 64}])
