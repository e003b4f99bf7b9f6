"""Ozonetel's nights: a campaign in paced batches, with two rows that the vendor refuses and one that is there."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import datetime, timedelta
from typing import ClassVar
from unittest import mock

from hypothesis import strategies as st

from include.campaign.loop import MOST_SENDS
from tests.crashes.night import ROWS, CrashingRun, Json, Night, Schedule
from tests.crashes.world import Call
from tests.flows.conftest import lead, phone

BAD, THERE = (4, 9), 7
"""Rows without an agent, and one whose number stands in the campaign before."""

CAMPAIGN = "Own customers"
"""Dialed by agent, which our flow does not know of."""

CALL = "add_bulk_data"
CALL_FAULTS = ("drop_before", "drop_after", "truncated", "broken_json", "late_answer")
FLOW = {
    "kind": "load_ozonetel",
    "source": "callers",
    "campaign": CAMPAIGN,
    "released": True,
    "batch_size": 3,
    "callback_hours": 0.1,
    "min_valid_share": 0.5,
    "columns": [{"to": "PhoneNumber", "from": "phone"}, {"to": "AgentId", "from": "data.agent"}],
}


class Ozonetel(Night):
    """The judge is what the campaign holds, batch by batch, and the vendor's own count of calls in a minute."""

    vendor = "ozonetel"
    flows: ClassVar = {
        "skip_all": FLOW | {"name": "skip_all"},
        "skip_all_known": FLOW | {"name": "skip_all_known", "preflight": False},
        "canary": FLOW | {"name": "canary", "canary": {"rows": 2, "max_rejected_percent": 100}},
        "add_all": FLOW | {"name": "add_all", "duplicates": "add_all"},
    }
    faults = st.one_of(
        st.builds(
            lambda fault, nth, times: {
                "fault": fault,
                "op": CALL,
                "nth": nth,
                "times": times,
                "seconds": 300,
            },
            st.sampled_from(CALL_FAULTS),
            st.integers(1, 4),
            st.integers(1, 2),
        ),
        st.builds(
            lambda status, nth: {"fault": "status", "op": CALL, "status": status, "nth": nth},
            st.sampled_from([429, 500, 503, 401]),
            st.integers(1, 4),
        ),
        st.builds(
            lambda fault, nth: {"fault": fault, "nth": nth, "seconds": 80},
            st.sampled_from(["webhook_lost", "webhook_late", "webhook_garbage"]),
            st.integers(1, 4),
        ),
        st.builds(
            lambda fault: {"fault": fault, "times": None},
            st.sampled_from(["webhook_doubled", "webhook_reordered", "webhook_forged"]),
        ),
        st.builds(
            lambda fault, nth: {"fault": fault, "nth": nth},
            st.sampled_from(["load_error", "load_crash"]),
            st.integers(1, 4),
        ),
        st.builds(
            lambda fault, times: {"fault": fault, "op": "failed_file", "times": times, "status": 503},
            st.sampled_from(["drop_before", "truncated", "broken_json", "status"]),
            st.sampled_from([1, 4, None]),
        ),
        st.builds(lambda: {"fault": "status", "op": "failed_file", "times": None, "status": 403}),
    )
    readings = st.sampled_from(
        [
            {},
            {"callback_shape": "raw_unescaped", "failed_file_reversed": True, "spaces_around_path": True},
            {"callback_shape": "form", "bare_success": True, "double_encoded": True},
            {"duplicates": "counted", "csv_quoted": True},
            {"callback_shape": "object", "error_http_status": 400, "requests_per_minute": 4},
        ]
    )
    scenarios: ClassVar = {
        "": (),
        "429": ({"fault": "status", "op": CALL},),
        "lost callbacks": ({"fault": "webhook_lost", "times": None},),
    }

    def connect(self) -> None:
        self.told = self.sandbox.info()["ozonetel"]
        about = {
            "conn_type": "ozonetel",
            "host": self.sandbox.base_url,
            "login": self.told["user_name"],
            "password": self.told["api_key"],
            "extra": {"allow_http": True},
        }
        os.environ["AIRFLOW_CONN_OZONETEL_DEFAULT"] = json.dumps(about)
        from listkeeper.triggers.callbacks import CallbackTrigger

        seldom = {"poll_seconds": 20}  # a look costs more than all that happens between two
        self.world.replace(mock.patch.dict(CallbackTrigger.__init__.__kwdefaults__, seldom))

    def set_up(self, kind: str) -> None:
        self.sandbox.switch(self.vendor, work_seconds=1)
        if self.there(kind):
            self._put_there()

    def in_doubt(self, kind: str, point: str) -> bool:
        return kind == "add_all" and point in ("after Ledger.intend", "before OzonetelHook.load")

    def there(self, kind: str) -> int:
        return int(self.flows[kind].get("duplicates") != "add_all")

    def _put_there(self) -> None:
        fields = {
            "apiKey": self.told["api_key"],
            "userName": self.told["user_name"],
            "campaignName": CAMPAIGN,
            "bulkData": json.dumps({"map": ["PhoneNumber", "AgentId"], "data": [[phone(THERE), "a7"]]}),
        }
        url = self.sandbox.base_url + self.told["path"]
        boundary = "b"
        body = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        call = Call("POST", url, headers, f"{body}--{boundary}--\r\n".encode())
        self.world.vendors.run_until_complete(call.go(self.sandbox.sandbox))
        assert call.status == 200, bytes(call.body)
        self.world.sleep(70)  # that call counts in its minute, too

    def leads(self, kind: str) -> list[Json]:
        agents = (None if number in BAD else "a7" for number in range(ROWS))
        return [lead(number, data=json.dumps({"agent": agent})) for number, agent in enumerate(agents)]

    @property
    def numbers(self) -> Counter[str]:
        """How often each number stands in the campaign."""
        leads = self.sandbox.state(self.vendor)["campaigns"][CAMPAIGN]["leads"]
        return Counter(one["PhoneNumber"] for one in leads)

    def judge(self, run: CrashingRun, schedule: Schedule, before: int) -> int:
        self.world.sleep(900)
        there = self.numbers
        assert set(there.values()) <= {1}, "a row stands in the campaign twice"
        if not run.summary:
            assert run.state == "failed"
            return len(there)
        run.assert_accounted()
        summary = run.summary
        self._judge_pace()
        if self._fooled(schedule):
            return len(there)
        if run.run_id == "night" and summary["load"]:
            self._judge_batches(run, schedule, there)
        if summary["verdict"] not in ("refused", "unchanged"):
            known = before  # what the vendor skips because it is there counts as delivered
            assert len(there) - before <= summary["delivered"] + summary["uncertain"]
            assert summary["delivered"] <= len(there) - before + known
        return len(there)

    @staticmethod
    def _fooled(schedule: Schedule) -> bool:
        """Whether a callback forged with its token may come long before the true one.

        Where the transaction's id is unknown and nothing may be sent again, no part of the contract tells them apart.
        """
        faults = {fault["fault"] for fault in schedule.faults if fault.get("op") != "failed_file"}
        nameless = bool(schedule.crashes) or bool(faults & {*CALL_FAULTS, "status"})
        return (
            schedule.kind == "add_all"
            and nameless
            and "webhook_forged" in faults
            and bool(
                faults
                & {"webhook_reordered", "webhook_late", "webhook_lost", "webhook_garbage", "load_crash"}
            )
        )

    def _judge_batches(self, run: CrashingRun, schedule: Schedule, there: Counter[str]) -> None:
        batches, at = run.ledger.batches(run.summary["load"]), 0
        checks = self.there(schedule.kind)
        for batch in batches:
            rows = range(at, at + batch.rows)
            at += batch.rows
            added = sum(phone(row) in there for row in rows)
            before = bool(checks) and THERE in rows
            what = (
                f"batch {batch.seq}: {batch.state}, {batch.delivered} + {batch.rejected} + {batch.uncertain}"
            )
            if batch.state == "planned":
                assert added <= before and not batch.maybe_sent, f"{what}: something was sent"
            elif batch.settled:
                assert batch.delivered + batch.rejected + batch.uncertain == batch.rows
                assert batch.delivered <= added <= batch.delivered + batch.uncertain + before, (
                    f"{what}, {added} there"
                )
        if not schedule.reading.get("requests_per_minute"):
            lost = sum(
                f["times"] for f in schedule.faults if f["fault"] in CALL_FAULTS and f.get("op") == CALL
            )
            put_off = sum(f["fault"] == "status" and f.get("op") == CALL for f in schedule.faults)
            most = MOST_SENDS + len(schedule.crashes) + lost + put_off
            assert max(batch.attempts for batch in batches) <= most, "sent too often"

    def _judge_pace(self) -> None:
        told = self.sandbox.state(self.vendor, rows=False)
        times = [datetime.fromisoformat(one["time"]) for one in told["requests"] if one["op"] == CALL]
        times.sort()  # a call is noted when it ends
        for first, sixth in zip(times, times[5:], strict=False):
            assert sixth - first >= timedelta(seconds=60), "more than 5 calls in a minute"

    def last_word(self, run: CrashingRun, schedule: Schedule) -> None:
        good = {phone(row) for row in range(ROWS) if row not in BAD}
        assert set(self.numbers) <= good, "a row is there that the vendor should have refused"
        if self.there(schedule.kind):
            missing = good - set(self.numbers)
            if missing and schedule.kind == "canary":
                # Only rows that it refuses were left for the canary of the second run: it stops that one, too.
                assert run.state == "failed", "a good run leaves rows out"
                assert len(missing) <= run.reasons["canary_stopped"], "rows are neither there nor held"
                return
            assert not missing, "the campaign does not hold the night"
