"""What a load needs before it may write: a person's word, a plan that is not too old, the list as it was planned for.

And the switch that stops everything that goes to one vendor.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    for column in (
        sa.Column("good_until", MOMENT),
        sa.Column("planned_on_applied", sa.Text()),
        sa.Column("planned_on_sent", sa.Text()),
        sa.Column("approval", sa.Text()),
        sa.Column("approval_page", sa.Text()),
        sa.Column("approved_by", sa.Text()),
        sa.Column("approved_at", MOMENT),
        sa.Column("approval_reason", sa.Text()),
    ):
        op.add_column("loads", column)
    op.create_table(
        "vendors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("paused_by", sa.Text()),
        sa.Column("paused_why", sa.Text()),
        sa.Column("paused_at", MOMENT),
        sa.PrimaryKeyConstraint("name", name="pk_vendors"),
    )
