"""What the plan lets through, the sandbox's vendor takes: two readings of the same rules, written apart."""

from __future__ import annotations

import orjson
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from include.campaign.rows import RowRules, shape
from include.sandbox.ozonetel_rows import Campaign, sort_rows
from include.sandbox.switches import OzonetelSwitches
from include.vendors.ozonetel import bulk_data

HEADER = ["PhoneNumber", "Name", "Priority", "ExpiryDate", "AgentId", "skill", "Zip"]
CAMPAIGN = Campaign(tuple(HEADER), needs="AgentId")
nearly = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
rows = st.tuples(
    st.sampled_from(["+12012000001", "+919876543210", "+442070313000", "+3907651234"]),
    nearly | st.sampled_from(["O'Neil", "Zoë  Ørsted", "Neil, Jr", "ﬁ½①", " - ", "x" * 1990]),
    nearly | st.sampled_from(["", "1", "99", "100", "0", "007", "7.0", "٣", "1\n"]),
    nearly
    | st.sampled_from(
        ["", "2026-12-31", "2026-02-30", "2026-1-1", "٢٠٢٦-١٢-٣١", "0000-01-01", "2026-12-31 "]
    ),
    nearly | st.just("agent7"),
    nearly,
    nearly | st.sampled_from(["y" * 1900, None]),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(rows, min_size=1, max_size=8),
    st.sampled_from(["clean", "reject"]),
    st.sampled_from(["national", "international"]),
)
def test_what_passes_the_plan_passes_the_vendor(data, names, numbers):
    cells = pl.DataFrame(data, schema=dict.fromkeys(HEADER, pl.String), orient="row")
    rules = RowRules(numbers=numbers, region="US", names=names, agent_wise=True)
    after, problem, _ = shape(rules, cells, cells)
    good = after.filter(problem.is_null())
    sent = orjson.loads(bulk_data(HEADER, good.rows()))
    leads, failed = sort_rows(CAMPAIGN, "1", sent["map"], sent["data"], "nothing", OzonetelSwitches())
    assert failed == []
    assert len(leads) == good.height
