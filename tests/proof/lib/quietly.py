"""For proofs that play thousands of nights in one process: imports with one thread for small frames, and no log."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quietly() -> Iterator[None]:
    """Import within this; what Airflow puts into its home is removed when the process ends."""
    import atexit

    from tests.plugins.conftest import HOME

    os.environ |= {"POLARS_MAX_THREADS": "1", "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL"}
    atexit.register(shutil.rmtree, HOME, ignore_errors=True)
    logging.disable(logging.CRITICAL)
    yield
