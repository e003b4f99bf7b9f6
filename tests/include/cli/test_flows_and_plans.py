"""`flows`, `validate` and `plan`: what they say of flow files and of what a run would change."""

from __future__ import annotations

from tests.include.cli.conftest import FLOW, TARGET


def test_flows(call):
    code, answer = call("flows", "--json")
    assert code == 0
    assert answer["flows"] == [
        {
            "kind": "pull_platform_leads",
            "name": "callers",
            "dag_id": "pull_platform_leads__callers",
            "target": None,
            "released": None,
        },
        {
            "kind": "load_purecallerid",
            "name": "ringcx",
            "dag_id": "load_purecallerid__ringcx",
            "target": TARGET,
            "released": True,
        },
    ]
    assert TARGET in call("flows")[1]


def test_a_broken_flow_is_listed(call, place):
    (place / "flows" / "more.yaml").write_text(FLOW.replace("ringcx\nsource", "more\nsauce"))
    code, answer = call("flows", "--json")
    assert code == 1
    assert len(answer["flows"]) == 2
    assert answer["broken"][0]["dag_id"] == "load_purecallerid__more"
    assert "more.yaml cannot be used" in call("flows")[1]


def test_good_files(call, place):
    assert call("validate") == (0, "2 flow files are good.\n")
    assert call("validate", place / "flows" / "ringcx.yaml")[0] == 0


def test_every_problem_has_a_file_a_key_and_a_rule(call, place):
    flows = place / "flows"
    (flows / "a.yaml").write_text(FLOW.replace("APPEND", "REPLACE").replace("name: ringcx", "name: a"))
    (flows / "b.yaml").write_text("kind: load_purecallerid\n- so")
    (flows / "c.yaml").write_text(
        FLOW.replace("callers", "nobody")
        .replace("ringcx\nsource", "c\nsource")
        .replace("list: RingCX nightly", "list: RingCX weekend")
    )
    (flows / "d.yaml").write_text("- a list")
    (flows / "z.yaml").write_text(FLOW)
    code, answer = call("validate", "--json")
    assert code == 1
    assert answer["files"] == 7
    found = {(p["file"], p["key"]): p["rule"] for p in answer["problems"]}
    assert set(found) == {
        ("a.yaml", "mode"),
        ("b.yaml", "line 2"),
        ("c.yaml", "source"),
        ("d.yaml", "the file"),
        ("z.yaml", "name"),
    }
    assert "RingCX lists can only be appended to" in found["a.yaml", "mode"]
    assert "already defines load_purecallerid__ringcx" in found["z.yaml", "name"]
    assert "c.yaml: source: no file defines the source nobody" in call("validate")[1]


def test_files_may_be_named_by_their_folder(call, place):
    assert call("validate", str(place / "flows"))[1] == call("validate")[1]
    assert call("validate", str(place / "flows" / "ringcx.yaml"))[1].strip() == "The flow file is good."


def test_a_file_that_is_not_there(call):
    code, text = call("validate", "missing.yaml")
    assert code == 1
    assert "missing.yaml" in text
    assert "cannot be read" in text


def test_the_newest_plan_of_a_flow(call, run):
    run("r1")
    load = run("r2")
    code, answer = call("plan", "ringcx", "--json")
    assert (code, answer["load"], answer["plan"]["to_send"]) == (0, load.id, 3)
    assert call("plan", "load_purecallerid__ringcx", "--json")[1]["load"] == load.id
    assert call("plan", "load_purecallerid__ringcx", "r1", "--json")[1]["run_id"] == "r1"
    assert "What changes on the list" in call("plan", "ringcx")[1]


def test_a_refused_plan_is_not_good(call, run):
    run(refused=True)
    code, text = call("plan", "ringcx")
    assert code == 1
    assert "48.0 hours old" in text


def test_a_plan_that_is_not_there(call, run):
    assert call("plan", "ringcx")[0] == 1  # not even a ledger
    run()
    assert call("plan", "load_purecallerid__ringcx", "r9")[0] == 1
    assert call("plan", "load_other__ringcx")[0] == 1
