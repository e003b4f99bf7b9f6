"""How Alembic runs here: only through `Ledger.migrate`, on its connection and inside its transaction.

To change a table: change `tables.py`, add a file under `versions/`, set `tables.REVISION`. The tests compare
the two.
"""

from __future__ import annotations

from alembic import context

from include.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
