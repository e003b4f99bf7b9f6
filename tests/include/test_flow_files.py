"""Flow files: every rule, with file, key and rule in the error; a mistake breaks its own flow and no other."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import yaml

from include import settings
from include.flow_files import (
    KINDS,
    FlowFileError,
    PlatformSource,
    PureCallerIdFlow,
    find_flow,
    load_flows,
    read_flow_file,
)

SOURCE = {"kind": "pull_platform_leads", "name": "callers", "filters": {"listId": 100}}
FIVE9 = {
    "kind": "load_purecallerid",
    "name": "five9",
    "source": "callers",
    "dialer": "five9",
    "campaign": "64be9f5c0c8d4a1f2b3c4d5e",
    "list": "Nightly",
    "mode": "REPLACE",
    "columns": [{"to": "number1", "from": "phone"}, {"to": "key", "from": "customer_key"}],
}
RINGCX = {
    **FIVE9,
    "name": "ringcx",
    "dialer": "ringcx",
    "mode": "APPEND",
    "dedupe": "RING_RETAIN_ALL",
    "columns": [{"to": "leadPhone", "from": "phone"}],
}


def put(folder: Path, content, name: str = "flow.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def changed(base, changes):
    """A copy of a file's keys; a dotted name goes down, None takes the key out."""
    keys = copy.deepcopy(base)
    for name, value in changes.items():
        *way, last = name.split(".")
        place = keys
        for step in way:
            place = place[int(step)] if step.isdigit() else place.setdefault(step, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    return keys


def problems(folder: Path, content) -> list[str]:
    with pytest.raises(FlowFileError) as error:
        read_flow_file(put(folder, content))
    assert str(error.value).startswith("flow.yaml cannot be used:\n- ")
    assert error.value.file == "flow.yaml"
    return error.value.problems


@pytest.mark.parametrize("keys", [SOURCE, FIVE9, RINGCX], ids=lambda keys: keys["name"])
def test_good_files(tmp_path, keys):
    flow = read_flow_file(put(tmp_path, keys))
    assert flow.dag_id == f"{keys['kind']}__{keys['name']}"


def test_a_delivery_maps_what_rule_packs_add(tmp_path):
    packs = {"countries": ["US"], "calls": "live", "outside_hours": "schedule"}
    keys = changed(FIVE9, {"columns.1.from": "call_from", "clean": {"packs": packs}})
    flow = read_flow_file(put(tmp_path, keys))
    assert flow.recipe.columns == (("number1", "phone"), ("key", "call_from"))


def test_the_shipped_files_are_good():
    folder = settings.PROJECT_ROOT / "include" / "flows"
    found = [load_flows(kind, folder) for kind in KINDS.values()]
    assert not [broken for _, broken in found if broken]
    assert sum(len(flows) for flows, _ in found) == len(list(folder.glob("*.yaml")))


RULES = [
    # every flow
    (SOURCE, {"name": None}, "name: is needed"),
    (
        SOURCE,
        {"name": "Callers"},
        "name: 'Callers' does not fit. Name of the flow: small letters, digits and _.",
    ),
    (SOURCE, {"name": "a b"}, "name: 'a b' does not fit."),
    (SOURCE, {"name": "x" * 61}, "name: must have at most 60 characters"),
    (SOURCE, {"name": 5}, "name: must be text, and YAML reads 5 here"),
    (SOURCE, {"nmae": "x"}, "nmae: there is no such key"),
    (SOURCE, {"owner": ""}, "owner: must not be empty"),
    (SOURCE, {"tags": ["x" * 101]}, "tags.0: must have at most 100 characters"),
    (SOURCE, {"tags": "night"}, "tags: must be a list"),
    # sources
    (SOURCE, {"zone": "Sydney"}, "zone: 'Sydney' is no IANA time zone; write one such as Australia/Sydney"),
    (SOURCE, {"zone": "../etc/passwd"}, "zone: '../etc/passwd' is no IANA time zone"),
    (SOURCE, {"zone": "America"}, "zone: 'America' is no IANA time zone"),
    (SOURCE, {"zone": ""}, "zone: must not be empty"),
    (SOURCE, {"schedule": "every night"}, "schedule: must run once a day"),
    (SOURCE, {"schedule": "99 2 * * *"}, "schedule: must run once a day"),
    (SOURCE, {"schedule": "0 24 * * *"}, "schedule: must run once a day"),
    (SOURCE, {"schedule": "*/5 * * * *"}, "schedule: must run once a day"),
    (SOURCE, {"schedule": "0 2 * * 1-5"}, "schedule: must run once a day"),
    (SOURCE, {"mode": "nightly"}, "mode: must be 'night' or 'full'"),
    (
        SOURCE,
        {"mode": "full", "filters.listId": None},
        "mode full needs filters.listId or filters.campaignId",
    ),
    (SOURCE, {"shards": 0}, "shards: must be at least 1"),
    (SOURCE, {"shards": 17}, "shards: must be at most 16"),
    (SOURCE, {"filters.listid": 100}, "filters.listid: there is no such key"),
    (SOURCE, {"filters.listId": "all"}, "filters.listId: must be a whole number, not 'all'"),
    (SOURCE, {"connection": ""}, "connection: must not be empty"),
    # deliveries
    (FIVE9, {"source": None}, "source: is needed"),
    (FIVE9, {"columns": None}, "columns: is needed"),
    (FIVE9, {"columns": []}, "columns: must not be empty"),
    (
        FIVE9,
        {"columns.1.from": "customerkey"},
        "columns.1.from: 'customerkey' is no source; write phone, data.",
    ),
    (FIVE9, {"columns.1.from": "data."}, "columns.1.from: 'data.' is no source"),
    (FIVE9, {"columns.1.from": "data.a\\b"}, "columns.1.from: 'data.a\\\\b' cannot be read"),
    (FIVE9, {"columns.1.to": ""}, "columns.1.to: must not be empty"),
    (FIVE9, {"columns.1.source": "phone"}, "columns.1.source: there is no such key"),
    (
        FIVE9,
        {"guards": {"max_shrink_percent": 130}},
        "guards.max_shrink_percent: must be at most 100, not 130",
    ),
    (FIVE9, {"clean": {"region": "USA"}}, "clean.region: 'USA' does not fit. Country (ISO code"),
    (
        FIVE9,
        {"clean": {"suppression": [{"name": "x"}]}},
        "clean.suppression.0: give exactly one of file, table",
    ),
    (
        FIVE9,
        {"columns.1.from": "call_from"},
        "call_from needs rule packs; say which under clean.packs",
    ),
    (
        FIVE9,
        {"clean": {"packs": {"countries": ["US"], "calls": "live", "outside_hours": "schedule"}}},
        "clean.packs.outside_hours: schedule needs a column from call_from or call_until",
    ),
    (FIVE9, {"clean": {"packs": {"countries": ["US"]}}}, "clean.packs.calls: is needed"),
    (FIVE9, {"released": "perhaps"}, "released: must be true or false"),
    # PureCallerID
    (FIVE9, {"dialer": "genesys"}, "dialer: must be 'five9' or 'ringcx'"),
    (FIVE9, {"mode": "MERGE"}, "mode: must be 'APPEND' or 'REPLACE'"),
    (FIVE9, {"mode": None}, "mode: is needed"),
    (FIVE9, {"list": None}, "list: is needed"),
    (FIVE9, {"campaign": 64}, "campaign: must be text, and YAML reads"),
    (FIVE9, {"dedupe": "RING_RETAIN_ALL"}, "dedupe: only RingCX knows it; leave it out for five9"),
    (FIVE9, {"columns.0.to": "number2"}, "columns: number1, the phone column of five9, is not among them"),
    (FIVE9, {"columns.1.to": "number1"}, "columns: number1 is mapped more than once"),
    (FIVE9, {"columns.0.from": "phone1"}, "the column number1 must come from `phone`, the cleaned number"),
    (FIVE9, {"unique_column": "id"}, "unique_column: id is not among columns[].to"),
    (FIVE9, {"canary": {}}, "canary: REPLACE empties the list first"),
    (
        FIVE9,
        {"mode": "APPEND", "canary": {"rows": 0}},
        "canary.rows: must be at least 1",
    ),
    (FIVE9, {"mode": "APPEND", "canary": {"share": 1}}, "canary.share: there is no such key"),
    (FIVE9, {"send": "all"}, "send: all is for mode APPEND with unique_column"),
    (FIVE9, {"send": "all", "mode": "APPEND"}, "send: all is for mode APPEND with unique_column"),
    (FIVE9, {"callback_hours": 0}, "callback_hours: must be above 0"),
    (FIVE9, {"callback_hours": 73}, "callback_hours: must be at most 72"),
    (FIVE9, {"min_valid_share": 1.1}, "min_valid_share: must be at most 1"),
    (RINGCX, {"mode": "REPLACE"}, "mode: RingCX lists can only be appended to"),
    (RINGCX, {"dedupe": None}, "dedupe: is needed for ringcx, one of RING_REMOVE_ALL_EXISTING"),
    (RINGCX, {"dedupe": "RING_KEEP"}, "dedupe: must be 'RING_REMOVE_ALL_EXISTING'"),
    (RINGCX, {"unique_column": "leadPhone"}, "unique_column: only Five9 has one"),
]


@pytest.mark.parametrize(("base", "changes", "rule"), RULES, ids=[rule for *_, rule in RULES])
def test_every_rule_names_its_key(tmp_path, base, changes, rule):
    found = problems(tmp_path, changed(base, changes))
    assert any(rule in problem for problem in found), found


def test_all_mistakes_at_once(tmp_path):
    found = problems(tmp_path, changed(FIVE9, {"mode": "X", "colour": "red", "source": None}))
    assert sorted(problem.split(":")[0] for problem in found) == ["colour", "mode", "source"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("kind: a\nname: [1,\n", "line 3: this is no YAML"),
        ("kind: a\n\tname: b\n", "line 2: this is no YAML"),
        ("kind: a\nname: b\nname: c\n", "line 3: this is no YAML (the key name stands twice)"),
        ("filters:\n  listId: 1\n  listId: 2\n", "line 3: this is no YAML (the key listId stands twice)"),
        ("when: 2026-13-45\n", "the file cannot be read (month must be in 1..12)"),
        ("- a\n- b\n", "the file must hold keys and values"),
        ("", "the file must hold keys and values"),
        ("just words", "the file must hold keys and values"),
        ("name: a\n", "kind: must be one of pull_platform_leads, load_purecallerid"),
        ("kind: load_five9\n", "not 'load_five9'"),
        ("kind: [load_purecallerid]\n", "kind: must be one of"),
        ("!!python/object/apply:os.system ['true']", "line 1: this is no YAML"),
        ("[" * 1000, "the file cannot be read (RecursionError)"),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path, text, rule):
    [found] = problems(tmp_path, text)
    assert rule in found
    assert load_flows(PureCallerIdFlow, tmp_path)[1] or load_flows(PlatformSource, tmp_path)[1]


def test_a_file_in_another_encoding(tmp_path):
    path = tmp_path / "flow.yaml"
    path.write_bytes("title: Zürich".encode("latin-1"))
    with pytest.raises(FlowFileError, match="UnicodeDecodeError"):
        read_flow_file(path)


def test_a_key_of_yaml_may_stand_in_two_places(tmp_path):
    put(tmp_path, {**SOURCE, "title": "a", "tags": ["b"]})
    two = [{"to": "number1", "from": "phone"}, {"to": "x", "from": "data.x"}]
    assert len(read_flow_file(put(tmp_path, {**FIVE9, "columns": two})).columns) == 2


# Many files


def names(found):
    flows, broken = found
    return [flow.name for flow in flows], [(wrong.dag_id, wrong.error.file) for wrong in broken]


def test_one_bad_file_breaks_only_its_own_flow(tmp_path):
    put(tmp_path, {**FIVE9, "name": "a", "list": "A"}, "a.yaml")
    put(tmp_path, {**FIVE9, "name": "b", "list": "B", "mode": "MERGE"}, "b.yaml")
    put(tmp_path, {**FIVE9, "name": "c", "list": "C"}, "c.yml")
    put(tmp_path, SOURCE, "s.yaml")
    (tmp_path / "notes.txt").write_text("no flow")
    good, broken = names(load_flows(PureCallerIdFlow, tmp_path))
    assert (good, broken) == (["a", "c"], [("load_purecallerid__b", "b.yaml")])
    assert names(load_flows(PlatformSource, tmp_path)) == (["callers"], [])


@pytest.mark.parametrize(
    "text", ["name: [", "kind: nothing\nname: x", "when: 2026-13-45", "[" * 1000, "\x00", "kind: {}"]
)
def test_a_file_of_no_kind_is_shown_once(tmp_path, text):
    put(tmp_path, FIVE9, "good.yaml")
    put(tmp_path, text, "Bad file.yaml")
    good, broken = names(load_flows(PureCallerIdFlow, tmp_path))
    assert (good, broken) == (["five9"], [])
    good, [(dag_id, file)] = names(load_flows(PlatformSource, tmp_path))
    assert good == [] and file == "Bad file.yaml"
    assert dag_id in ("pull_platform_leads__bad_file", "pull_platform_leads__x")


def test_a_second_file_of_the_same_name_is_broken(tmp_path):
    put(tmp_path, FIVE9, "a.yaml")
    put(tmp_path, {**FIVE9, "list": "Other"}, "b.yaml")
    good, broken = names(load_flows(PureCallerIdFlow, tmp_path))
    assert (good, broken) == (["five9"], [("load_purecallerid__five9_b_yaml", "b.yaml")])


@pytest.mark.parametrize("first", ["a.yaml", "z.yaml"])
def test_a_broken_copy_does_not_take_the_name_of_the_good_file(tmp_path, first):
    put(tmp_path, FIVE9, "five9.yaml")
    put(tmp_path, {**FIVE9, "mode": "MERGE"}, first)
    put(tmp_path, {**FIVE9, "mode": "MERGE"}, f"{first.removesuffix('.yaml')}.yml")
    flows, broken = load_flows(PureCallerIdFlow, tmp_path)
    ids = [flow.dag_id for flow in flows] + [wrong.dag_id for wrong in broken]
    assert ids[0] == "load_purecallerid__five9"
    assert len(set(ids)) == len(ids) == 3


def test_two_files_for_one_list(tmp_path):
    """What one of them put there, the other could not know of."""
    put(tmp_path, FIVE9, "a.yaml")
    put(tmp_path, {**FIVE9, "name": "other"}, "b.yaml")
    put(tmp_path, {**FIVE9, "name": "third", "list": "Weekend"}, "c.yaml")
    flows, [broken] = load_flows(PureCallerIdFlow, tmp_path)
    assert [flow.name for flow in flows] == ["five9", "third"]
    assert broken.error.problems == ["list: a.yaml already writes this list"]


def test_find_flow(tmp_path):
    put(tmp_path, FIVE9, "a.yaml")
    put(tmp_path, {**FIVE9, "name": "b", "mode": "X"}, "b.yaml")
    assert find_flow(PureCallerIdFlow, "five9", tmp_path).list == "Nightly"
    with pytest.raises(FlowFileError, match=r"b.yaml cannot be used:\n- mode"):
        find_flow(PureCallerIdFlow, "b", tmp_path)
    with pytest.raises(FlowFileError, match="no file defines c"):
        find_flow(PureCallerIdFlow, "c", tmp_path)


# What a flow means


@pytest.mark.parametrize(
    ("base", "changes", "safe", "replaces", "updates", "unique"),
    [
        (FIVE9, {}, True, True, False, None),
        (FIVE9, {"unique_column": "key"}, True, True, True, None),
        (FIVE9, {"mode": "APPEND"}, False, False, False, None),
        (FIVE9, {"mode": "APPEND", "unique_column": "key"}, True, False, True, "key"),
        (RINGCX, {}, False, False, False, None),
        (RINGCX, {"dedupe": "RING_REMOVE_ALL_EXISTING"}, False, False, False, None),
    ],
)
def test_what_may_be_sent_again(tmp_path, base, changes, safe, replaces, updates, unique):
    flow = read_flow_file(put(tmp_path, changed(base, changes)))
    recipe = flow.recipe
    assert (flow.safe_to_resend, recipe.replaces, recipe.updates, recipe.unique) == (
        safe,
        replaces,
        updates,
        unique,
    )


def test_the_target_names_campaign_and_list(tmp_path):
    flow = read_flow_file(put(tmp_path, FIVE9))
    assert flow.target == "purecallerid:64be9f5c0c8d4a1f2b3c4d5e:Nightly"
    assert (flow.vendor, flow.list_name) == ("purecallerid", "Nightly")


@pytest.mark.parametrize(
    ("zone", "night", "hours"),
    [
        ("America/New_York", date(2026, 11, 1), 25),
        ("America/New_York", date(2026, 3, 8), 23),
        ("Australia/Sydney", date(2026, 11, 20), 24),
        ("UTC", date(2026, 12, 31), 24),
    ],
)
def test_a_night_is_a_calendar_day_of_its_zone(tmp_path, zone, night, hours):
    source = read_flow_file(put(tmp_path, {**SOURCE, "zone": zone}))
    start, end = source.window(night)
    assert (start.date(), start.hour, end.hour) == (night, 0, 0)
    assert (end.astimezone(UTC) - start.astimezone(UTC)).total_seconds() == hours * 3600


def test_the_last_night_is_over_where_the_source_is(tmp_path):
    source = read_flow_file(put(tmp_path, {**SOURCE, "zone": "Australia/Sydney"}))
    assert source.last_night(datetime(2026, 11, 20, 12, 59, tzinfo=UTC)) == date(2026, 11, 19)
    assert source.last_night(datetime(2026, 11, 20, 13, 0, tzinfo=UTC)) == date(2026, 11, 20)
