"""The control tables, the same on SQLite and PostgreSQL. Changes to them go through `migrations/`.

None of them may ever hold a phone number, a name or an e-mail address of a lead: rows live in the run folder,
here are ids, counts, hashes and times. Columns that take a person's free words (`reason`, `paused_why`,
`note`) are for the log of a decision, not for data; `Words` masks what looks like data all the same.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from include.masking import mask

REVISION: Final = "0006"
"""The newest migration. A database that is there already needs no Alembic to say so."""


def canonical(value: object) -> str:
    """JSON with one spelling per value: sorted keys, no spaces, ASCII; ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment. Aware on the way in (anything else is a ValueError), UTC on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn a moment of any zone into UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone is ambiguous; give the ledger timezone-aware times.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's text its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """What a person or a vendor wrote. A number, an address or a key in it is masked on the way in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Mask the text."""
        return None if value is None else mask(value)


class Json(TypeDecorator[Any]):
    """A JSON value kept as canonical text, so that it hashes and compares the same on every database."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Spell the value canonically."""
        return None if value is None else canonical(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read the text back."""
        return None if value is None else json.loads(value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

targets = Table(
    "targets",
    metadata,
    Column("key", Text, primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("paused_by", Text),
    Column("paused_why", Words),
    Column("paused_at", UtcDateTime),
    Column("lock_load_id", Text),
    Column("lock_until", UtcDateTime),
    Column("fence_source_time", UtcDateTime),
    Column("applied_source_time", UtcDateTime),
    Column("applied_plan_hash", Text),
    Column("applied_load_id", Text),
    Column("applied_rows", Integer),
    Column("applied", Text),
    Column("applied_at", UtcDateTime),
    Column("proven", Text),
)

loads = Table(
    "loads",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order they were opened in
    Column("id", Text, nullable=False, unique=True),
    Column("flow", Text, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("dag_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("target", Text, ForeignKey("targets.key"), nullable=False),
    Column("night", Text),
    Column("source_time", UtcDateTime, nullable=False),
    Column("snapshot", Text, nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("requested_by", Text),
    Column("reason", Words),
    Column("rows_in", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("counts", Json),
    Column("verdict", Text),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("good_until", UtcDateTime),
    Column("planned_on_applied", Text),
    Column("planned_on_sent", Text),
    Column("approval", Text),
    Column("approval_page", Text),
    Column("approved_by", Text),
    Column("approved_at", UtcDateTime),
    Column("approval_reason", Words),
    UniqueConstraint("dag_id", "run_id", "plan_hash"),
    CheckConstraint("mode IN ('apply', 'plan')", name="mode"),
    CheckConstraint("state IN ('open', 'done', 'failed', 'refused', 'planned', 'uncertain')", name="state"),
    Index("ix_loads_flow", "flow"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("load_id", Text, ForeignKey("loads.id"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column(
        "maybe_sent", Boolean, nullable=False
    ),  # an attempt before the present one may have reached the vendor
    Column("delivered", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("uncertain", Integer, nullable=False),
    Column("vendor_ref", Text),
    Column("answer", Json),
    Column("vendor_counts", Json, nullable=False),
    Column("note", Words),
    Column("intended_at", UtcDateTime),
    Column("accepted_at", UtcDateTime),
    Column("settled_at", UtcDateTime),
    UniqueConstraint("load_id", "seq"),
    CheckConstraint(
        "state IN ('planned', 'intended', 'accepted', 'confirmed', 'rejected', 'uncertain')", name="state"
    ),
    CheckConstraint(
        "state IN ('planned', 'intended', 'accepted') OR delivered + rejected + uncertain = rows", name="sum"
    ),
)

vendors = Table(
    "vendors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("paused", Boolean, nullable=False),
    Column("paused_by", Text),
    Column("paused_why", Words),
    Column("paused_at", UtcDateTime),
)

pace = Table(
    "pace",
    metadata,
    Column("account", Text, primary_key=True),
    Column("turns", Json, nullable=False),
    Column("closed_until", UtcDateTime),
)

owners = Table(
    "owners",
    metadata,
    Column("owner_group", Text, primary_key=True),
    Column("night", Text, primary_key=True),
    Column("claims", Json, nullable=False),
)

removals = Table(
    "removals",
    metadata,
    Column("place", Text, primary_key=True),
    Column("kept", Text, nullable=False),  # the class by whose days it went
    Column("days", Integer, nullable=False),
    Column("pieces", Integer, nullable=False),  # files, or rows of the ledger
    Column("bytes", BigInteger, nullable=False),
    Column("intended_at", UtcDateTime, nullable=False),
    Column("gone_at", UtcDateTime),
    Column("told", Integer),  # the evidence that counts it
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("batch_id", Integer, ForeignKey("batches.id"), nullable=False),
    Column("vendor", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),  # the order of arrival
    Column("batch_id", Integer, ForeignKey("batches.id"), nullable=False),
    Column("vendor", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("body", Json, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    UniqueConstraint("batch_id", "digest"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("load_id", Text),
    Column("body", Json, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

evidence_head = Table(
    "evidence_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("hash", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)
