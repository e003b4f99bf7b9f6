"""Batches on their way to the archive: every answer, every fault, against the sandbox's own tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from include.archive.loop import ArchiveStoppedError, Window, problems
from include.archive.selection import LeadDatabase
from include.canary import Canary
from include.leads.retention import Keep, RetentionRule
from include.ledger import Ledger, TargetPausedError, reconcile
from include.sandbox.server import SandboxServer
from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    VendorError,
)
from include.vendors.vicidial import Counts, Flags, NotNowError
from tests.include.archive.conftest import ALL, JOBURG, NIGHT, Client, Clock, Job, Tables

MakeJob = Callable[..., Job]
Look = Callable[[], Tables]
OFFICE = Window(JOBURG, timedelta(minutes=3), timedelta(minutes=15), timedelta(hours=72))


def calls(sandbox: SandboxServer) -> int:
    return int(sandbox.state("vicidial", rows=False)["calls"].get("archive", 0))


def database(sandbox: SandboxServer, *rules: RetentionRule) -> LeadDatabase:
    local = datetime.now().astimezone().replace(tzinfo=None)
    return LeadDatabase(sandbox.database_url, rules, Keep(statuses=()), local)  # type: ignore[attr-defined,call-arg]


def is_green(job: Job) -> bool:
    found = reconcile(len(job.lead_ids), {}, job.batches)
    return found.green and not problems(job.batches)


def test_every_lead_moves_once(job: MakeJob, tables: Look, sandbox: SandboxServer) -> None:
    work = job(35)
    assert work.run() is None
    tables().assert_moved(set(range(1, 36)))
    assert work.states == ["confirmed"] * 4 and work.delivered == 35 and is_green(work)
    assert calls(sandbox) == 4
    assert work.batches[0].vendor_counts == {
        "valid": 10, "selected": 10, "inserted": 10, "updated": 0, "deleted": 10,
    }  # fmt: skip
    assert work.run() is None and calls(sandbox) == 4, "what is settled is not sent again"


def test_five_hundred_leads_go_in_one_request(job: MakeJob, tables: Look, sandbox: SandboxServer) -> None:
    work = job(501, batch_size=500)
    work.run()
    tables().assert_moved(set(range(1, 502)))
    assert [batch["ids"] for batch in sandbox.state("vicidial")["batches"]] == [500, 1]


CANARY = Canary(rows=4, max_rejected_percent=25)


def test_behind_a_good_canary_the_rest_goes(job: MakeJob, tables: Look, sandbox: SandboxServer) -> None:
    work = job([9001, *range(1, 25)], canary=CANARY)
    assert work.run() is None
    tables().assert_moved(set(range(1, 25)))
    assert [batch.rows for batch in work.batches] == [4, 10, 10, 1] and work.delivered == 24


def test_behind_a_bad_canary_nothing_goes_however_often_it_is_tried(
    job: MakeJob, tables: Look, sandbox: SandboxServer
) -> None:
    work = job([9001, 9002, *range(1, 25)], canary=CANARY)
    for _ in range(2):
        with pytest.raises(
            ArchiveStoppedError, match=r"refused 2 of 4 rows \(50.0 %\).* The other 22 rows are held"
        ):
            work.run()
    tables().assert_moved({1, 2})
    assert work.states == ["confirmed", "planned", "planned", "planned"]


def test_a_crash_behind_the_canary_costs_nothing(
    job: MakeJob, tables: Look, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, settle = job(24, canary=CANARY), Ledger.settle

    def then_gone(*args: Any, **about: Any) -> None:
        settle(*args, **about)
        raise KeyboardInterrupt

    with monkeypatch.context() as crashing, pytest.raises(KeyboardInterrupt):
        crashing.setattr(Ledger, "settle", then_gone)
        work.run()
    assert work.states == ["confirmed", "planned", "planned"] and calls(sandbox) == 1
    assert work.run() is None
    tables().assert_moved(set(range(1, 25)))
    assert calls(sandbox) == 3


def test_unknown_leads_are_taken_out_and_the_rest_sent_once_more(
    job: MakeJob, tables: Look, sandbox: SandboxServer
) -> None:
    work = job([1, 2, 9001, 3, 9002])
    work.run()
    tables().assert_moved({1, 2, 3})
    assert work.named == {9001: "unknown_lead", 9002: "unknown_lead"}
    assert (work.delivered, calls(sandbox)) == (3, 2) and is_green(work)
    assert work.batches[0].rejected == 2 and not work.batches[0].maybe_sent


def test_a_batch_of_unknown_leads_only_is_rejected(job: MakeJob, sandbox: SandboxServer) -> None:
    work = job([9001, 9002])
    work.run()
    assert (work.states, work.delivered, calls(sandbox)) == (["rejected"], 0, 1)
    assert not is_green(work), "nothing was archived"


def test_a_copy_leaves_the_leads_where_they_are(job: MakeJob, sandbox: SandboxServer) -> None:
    work = job([1, 2, 9001], flags=Flags(insert=True, update=True))
    sandbox.fault("vicidial", "drop_after")
    work.run()
    ids = sandbox.state("vicidial")["ids"]
    assert ids["archive"] == [1, 2] and len(ids["list"]) == 600
    assert work.delivered == 2 and work.named == {9001: "unknown_lead"}


# Answers that never came


@pytest.mark.parametrize(
    "fault",
    [
        "drop_before",
        "drop_after",
        "truncated",
        "crash_in_insert",
        "crash_after_insert",
        "crash_in_update",
        "crash_after_update",
        "crash_in_delete",
    ],
)
@pytest.mark.parametrize("with_database", [False, True])
def test_a_lost_answer_ends_right(
    job: MakeJob, tables: Look, sandbox: SandboxServer, fault: str, with_database: bool
) -> None:
    work = job(30, database=database(sandbox) if with_database else None)
    sandbox.fault("vicidial", fault, nth=2)
    work.run()
    tables().assert_moved(set(range(1, 31)))
    assert work.delivered == 30 and work.named == {} and is_green(work)
    assert work.batches[1].attempts >= 2 and work.clock.slept == [1.0]


def test_a_server_that_stays_away_leaves_the_batch_open_for_the_next_try(
    job: MakeJob, tables: Look, sandbox: SandboxServer
) -> None:
    work = job(20)
    sandbox.fault("vicidial", "drop_after", nth=2, times=3)
    with pytest.raises(LostAnswerError):
        work.run()
    assert work.states == ["confirmed", "intended"] and work.clock.slept == [1.0, 2.0]
    assert work.run() is None
    tables().assert_moved(set(range(1, 21)))
    assert work.delivered == 20 and is_green(work)


def test_other_500s_back_off(job: MakeJob, tables: Look, sandbox: SandboxServer) -> None:
    work = job(10)
    sandbox.fault("vicidial", "status", status=500, times=2)
    work.run()
    tables().assert_moved(set(range(1, 11)))
    assert work.clock.slept == [1.0, 2.0]


def test_who_deleted_a_lead_in_doubt_is_asked_of_the_database(
    job: MakeJob, tables: Look, sandbox: SandboxServer
) -> None:
    """Without a database such a lead counts as archived: the contract cannot tell."""
    for with_database, reason in ((True, {9001: "unknown_lead"}), (False, {})):
        sandbox.reset()
        sandbox.clock(NIGHT)
        work = job([1, 2, 9001], database=database(sandbox) if with_database else None)
        work.ledger.claim_target(work.load, timedelta(hours=1))
        work.ledger.intend(work.load, 1)  # a crash right here
        work.run()
        tables().assert_moved({1, 2})
        assert work.named == reason and work.delivered == 3 - len(reason)


# Leads that stay behind


def test_a_lead_that_an_agent_touched_is_synced_and_sent_once_more(
    job: MakeJob, tables: Look, sandbox: SandboxServer
) -> None:
    work = job(10)
    sandbox.fault("vicidial", "agent_edits", leads=3)
    work.run()
    tables().assert_moved(set(range(1, 11)))
    assert (work.delivered, work.named) == (10, {}) and is_green(work)
    assert calls(sandbox) == 3, "the batch, the batch again (7 are gone), and the three"
    assert work.batches[0].vendor_counts["updated"] == 3


def test_a_whole_batch_that_stayed_is_synced(job: MakeJob, tables: Look, sandbox: SandboxServer) -> None:
    work = job(10)
    sandbox.fault("vicidial", "agent_edits", leads=10)
    work.run()
    tables().assert_moved(set(range(1, 11)))
    assert calls(sandbox) == 2 and is_green(work)


@pytest.mark.parametrize("stubborn", [1, 4, 10])
def test_leads_that_stay_for_good_are_named_and_not_green(
    job: MakeJob, sandbox: SandboxServer, stubborn: int
) -> None:
    work = job(20)
    sandbox.fault("vicidial", "agent_edits", leads=stubborn, times=None)
    work.run()
    first = set(range(1, stubborn + 1))
    second = set(range(11, 11 + stubborn))
    ids = sandbox.state("vicidial")["ids"]
    assert set(work.named) == first | second and set(work.named.values()) == {"stayed_behind"}
    assert first | second <= set(ids["list"]) and work.delivered == 20 - 2 * stubborn
    assert not is_green(work) and f"{2 * stubborn} leads stayed" in problems(work.batches)[0]
    assert calls(sandbox) <= 2 * 4, "never looped"


def test_an_archive_too_narrow_shows_itself(job: MakeJob, sandbox: SandboxServer) -> None:
    sandbox.switch("vicidial", archive_widths={"phone_number": 4})
    work = job(10)
    work.run()
    assert work.delivered == 0 and set(work.named.values()) == {"stayed_behind"} and not is_green(work)


OLD = RetentionRule(name="old", older_than_days=30, since="last_call_or_entry")


def test_a_lead_that_was_called_meanwhile_is_left_alone(
    job: MakeJob, tables: Look, sandbox: SandboxServer
) -> None:
    """Called after it was selected, or while its batch is on the way: no rule picks it any more."""
    source = database(sandbox, OLD)
    old = sorted(source.fitting(range(1, 601)))[:20]
    called = datetime.now().astimezone().replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")
    sandbox.edit(old[3], last_local_call_time=called)
    sandbox.fault("vicidial", "agent_edits", nth=2)
    work = job(old, database=source)
    work.run()
    assert work.named == {old[3]: "no_longer_old", old[10]: "no_longer_old"}
    look = tables()
    assert set(work.named) <= look.listed and work.delivered == 18 and is_green(work)


def test_other_removals_at_the_same_time_are_not_green(
    job: MakeJob, client: Client, sandbox: SandboxServer
) -> None:
    other = Client(sandbox)
    work = job(10)
    sandbox.fault("vicidial", "agent_edits", leads=2)

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        counts = client(lead_ids, flags)
        if counts.delete == 8:
            other([1], ALL)
        return counts

    work.run(send=send)
    assert work.delivered == 10 and "differ by 1" in problems(work.batches)[0]
    other.http.close()


# A server that says no


def test_a_wrong_key_stops_at_once(
    job: MakeJob, client: Client, tables: Look, sandbox: SandboxServer
) -> None:
    client.http.headers["Authorization"] = "Key=wrong"
    work = job(20)
    with pytest.raises(AuthenticationError):
        work.run()
    tables().assert_moved(set())
    assert work.states == ["planned", "planned"] and calls(sandbox) == 1


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (RequestRefusedError("vicidial", "could not read our JSON"), 1),
        (RateLimitedError("vicidial", "wait", retry_after=5), 3),
        (RateLimitedError("vicidial", "wait long", retry_after=500), 1),
    ],
)
def test_a_refusal_leaves_the_batch_planned(job: MakeJob, error: VendorError, tries: int) -> None:
    asked: list[int] = []

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        asked.append(len(lead_ids))
        raise error

    work = job(20)
    with pytest.raises(type(error)):
        work.run(send=send)
    assert work.states == ["planned", "planned"] and len(asked) == tries


@pytest.mark.parametrize("answer", [Counts(9, 9, 0, 9), Counts(10, 10, 0, 11), Counts(11, 11, 0, 11)])
def test_counts_that_contradict_stop_the_run(job: MakeJob, answer: Counts) -> None:
    work = job(20)
    with pytest.raises(ArchiveStoppedError, match="Batch 1"):
        work.run(send=lambda lead_ids, flags: answer)
    assert work.states == ["uncertain", "planned"] and work.batches[0].uncertain == 10


def test_a_run_that_was_stopped_by_a_contradiction_can_go_on(job: MakeJob, tables: Look) -> None:
    work = job(20)
    with pytest.raises(ArchiveStoppedError):
        work.run(send=lambda lead_ids, flags: Counts(0, 0, 0, 0))
    assert work.run() is None
    tables().assert_moved(set(range(1, 21)))
    assert is_green(work)


def test_missing_leads_named_over_and_over_do_not_loop(job: MakeJob) -> None:
    from include.vendors.vicidial import UnknownLeadsError

    asked: list[int] = []

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        asked.append(len(lead_ids))
        raise UnknownLeadsError(lead_ids[:1], http_status=400)

    with pytest.raises(ArchiveStoppedError, match="in a row"):
        job(30, batch_size=30).run(send=send)
    assert len(asked) == 8


def test_a_pause_holds_before_each_batch(job: MakeJob, client: Client, tables: Look) -> None:
    work = job(30)

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        counts = client(lead_ids, flags)
        work.ledger.pause_target("vicidial:vicidial_default:old_leads", True, "ana", "the dialer is slow")
        return counts

    with pytest.raises(TargetPausedError):
        work.run(send=send)
    tables().assert_moved(set(range(1, 11)))
    assert work.states == ["confirmed", "planned", "planned"]


# Hours


def test_inside_our_hours_nothing_is_asked(job: MakeJob, sandbox: SandboxServer) -> None:
    work = job(10, window=OFFICE)
    work.clock.moment = datetime.fromisoformat("2026-11-23T10:00:00+02:00")
    pause = work.run()
    assert pause is not None and pause.kind == "window"
    assert pause.until == datetime.fromisoformat("2026-11-23T17:00:00+02:00")
    assert calls(sandbox) == 0 and work.states == ["planned"]
    assert work.ledger.target("vicidial:vicidial_default:old_leads").lock_load_id is None


def test_it_stops_before_the_office_opens_and_goes_on_at_the_next_batch(
    job: MakeJob, client: Client, tables: Look, sandbox: SandboxServer
) -> None:
    work = job(50, window=OFFICE)
    work.clock.moment = datetime.fromisoformat("2026-11-23T07:54:00+02:00")

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        work.clock.moment += timedelta(minutes=2)
        return client(lead_ids, flags)

    pause = work.run(send=send)
    assert pause is not None and pause.until == datetime.fromisoformat("2026-11-23T17:00:00+02:00")
    assert work.states == ["confirmed", "confirmed", "planned", "planned", "planned"]
    work.clock.moment = pause.until
    assert work.run(send=send) is None
    tables().assert_moved(set(range(1, 51)))
    assert [batch.attempts for batch in work.batches] == [1] * 5


def test_a_slow_server_widens_the_margin(job: MakeJob, client: Client, sandbox: SandboxServer) -> None:
    work = job(50, window=OFFICE)
    work.clock.moment = datetime.fromisoformat("2026-11-23T07:36:00+02:00")

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        work.clock.moment += timedelta(minutes=9)
        return client(lead_ids, flags)

    assert work.run(send=send) is not None
    assert work.states.count("confirmed") == 2, "07:36 and 07:45; at 07:54 another nine minutes do not fit"


def test_the_server_may_say_not_now_outside_our_hours(
    job: MakeJob, tables: Look, sandbox: SandboxServer
) -> None:
    work = job(20, window=OFFICE)
    sandbox.clock(datetime.fromisoformat("2026-11-23T10:00:00+02:00"))
    for _ in range(5):
        pause = work.run()
        assert pause is not None and pause.kind == "recheck"
        assert pause.until == work.clock() + timedelta(minutes=15)
        work.clock.moment = pause.until
    assert work.states == ["planned", "planned"] and not work.batches[0].maybe_sent
    sandbox.clock(NIGHT)
    assert work.run() is None
    tables().assert_moved(set(range(1, 21)))
    assert work.clock.slept == [], "no try was burnt"


def test_patience_ends(job: MakeJob, sandbox: SandboxServer) -> None:
    work = job(20, window=OFFICE)
    sandbox.clock(datetime.fromisoformat("2026-11-23T10:00:00+02:00"))
    work.clock.moment += timedelta(hours=73)
    while work.window.hours.is_open(work.clock()):  # type: ignore[union-attr]
        work.clock.moment += timedelta(hours=1)
    with pytest.raises(ArchiveStoppedError, match="For 72 hours"):
        work.run()


def test_not_now_after_a_lost_answer_keeps_the_doubt(
    job: MakeJob, client: Client, tables: Look, sandbox: SandboxServer
) -> None:
    """The work was done, the answer lost, then the office opened: next night its leads count as archived."""
    work = job(10)
    asked: list[int] = []

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        asked.append(len(lead_ids))
        if len(asked) == 1:
            client(lead_ids, flags)
            raise LostAnswerError("vicidial", "lost")
        raise NotNowError("vicidial", "office")

    pause = work.run(send=send)
    assert pause is not None and work.states == ["uncertain"]
    assert work.run() is None
    tables().assert_moved(set(range(1, 11)))
    assert work.delivered == 10 and work.named == {}


# A year


class Books:
    """A ledger in memory, for a year of nights."""

    def __init__(self, clock: Clock, batches: int) -> None:
        from include.ledger import Batch

        self.clock = clock
        self.all = [Batch("l", seq + 1, 1, "f") for seq in range(batches)]
        self.opened = clock()

    def __getattr__(self, name: str) -> object:
        return lambda *args, **kwargs: None

    def batches(self, load: str) -> list[object]:
        return list(self.all)

    def load(self, load: str) -> object:
        from types import SimpleNamespace

        return SimpleNamespace(opened_at=self.opened)

    def settle(self, load: str, seq: int, state: str, **counts: object) -> None:
        from dataclasses import replace

        self.all[seq - 1] = replace(self.all[seq - 1], state=state, settled_at=self.clock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "week"),
    [
        ("America/New_York", {"mon-fri": "08:00-17:00", "sat": "09:00-13:00"}),
        ("Europe/London", {"mon-sun": "03:00-23:30"}),
        ("Australia/Sydney", {"mon-sat": "01:00-02:30, 03:00-20:00"}),
        ("Africa/Johannesburg", {"mon-fri": "08:00-17:00"}),
    ],
)
def test_a_year_of_nights_without_one_call_inside_office_hours(
    zone: str, week: dict[str, str], staging_folder: object
) -> None:
    """Judged by the wall clock of the office, over both of its clock changes; holidays and a fast server clock too."""
    import random

    import polars as pl

    from include.archive.loop import Archiver
    from include.hours import OfficeHours
    from include.staging import RunFolder
    from tests.include.test_hours import wall_says_open

    dice = random.Random(zone)
    hours = OfficeHours.model_validate(
        {"zone": zone, "week": week, "holidays": ["2026-12-25", "2027-01-01", "2027-03-26"]}
    )
    clock = Clock(datetime.fromisoformat("2026-09-01T12:00:00+00:00"))
    end = clock() + timedelta(days=366)
    batches = 40_000
    books = Books(clock, batches)
    inside = accepted = pauses = 0

    def send(lead_ids: Sequence[int], flags: Flags) -> Counts:
        nonlocal inside, accepted
        inside += wall_says_open(hours, clock())
        if clock() >= end:
            raise KeyboardInterrupt
        if dice.random() < 0.01:  # the server's clock is wrong for a while
            raise NotNowError("vicidial", "office")
        clock.moment += timedelta(minutes=dice.choice((10, 20, 30, 40)))
        accepted += 1
        inside += wall_says_open(hours, clock() - timedelta(seconds=1))
        return Counts(1, 1, 0, 1)

    window = Window(hours, timedelta(minutes=45), timedelta(minutes=15), timedelta(hours=72))
    archiver = Archiver(
        books,  # type: ignore[arg-type]
        "l",
        pl.Series("lead_id", range(1, batches + 1), dtype=pl.Int64),
        flags=ALL,
        window=window,
        notes=RunFolder("runs/year"),
        send=send,
        now=clock,
        sleep=clock.sleep,
    )
    try:
        while (pause := archiver.run()) is not None:
            assert pause.until > clock()
            clock.moment = pause.until + timedelta(seconds=dice.choice((0, 1, 59)))
            pauses += 1
    except KeyboardInterrupt:
        pass
    assert clock() >= end, "the work must last the whole year"
    assert inside == 0
    assert accepted > 2_500 and pauses > 250
