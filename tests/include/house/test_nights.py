"""Whatever could go on before the house was kept still goes on, and the evidence counts what is gone."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.include.house.nights import ENDS, Night, play

UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Making a failure smaller takes minutes."""

night = st.tuples(st.integers(0, 40), st.sampled_from(ENDS), st.booleans(), st.booleans())


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=UNSHRUNK)
@given(st.lists(night, min_size=2, max_size=7), st.integers(0, 200))
def test_whatever_could_go_on_still_goes_on(empty_ledger: Path, nights: list[Night], later: int) -> None:
    play(nights, later, empty_ledger)
