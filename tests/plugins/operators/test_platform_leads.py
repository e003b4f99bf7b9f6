"""Single changes at the Platform API: only what was meant, twice is once, and the evidence tells without values."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from listkeeper.hooks import platform_requests
from listkeeper.hooks.ledger import open_ledger
from listkeeper.hooks.platform import PlatformHook
from listkeeper.operators.platform_leads import (
    CreateLeadOperator,
    DeleteLeadOperator,
    DownloadMediaOperator,
    SetPresenceOperator,
    UpdateLeadOperator,
)

from include.sandbox.platform_calls import RECORDING
from include.staging import RunFolder
from include.vendors.errors import AuthenticationError, LostAnswerError
from include.vendors.platform import LeadQuery, NotFoundError

LEAD, PHONE = 100_001, "+12025550123"


@pytest.fixture
def sandbox(small_sandbox, monkeypatch):
    small_sandbox.reset()
    connect(monkeypatch, small_sandbox)
    monkeypatch.setattr(platform_requests, "TRIES", 3)
    monkeypatch.setitem(PlatformHook.__init__.__kwdefaults__, "sleep", lambda _: None)
    return small_sandbox


def connect(monkeypatch, sandbox, **extra: Any) -> None:
    told = sandbox.info()["platform"]
    connection = {
        "conn_type": "platform",
        "host": sandbox.base_url,
        "password": told["token"],
        "extra": extra,
    }
    monkeypatch.setenv("AIRFLOW_CONN_PLATFORM_DEFAULT", json.dumps(connection))


def execute(operator: Any, map_index: int = -1, run_id: str = "manual__1") -> Any:
    run = SimpleNamespace(dag_id="mine", run_id=run_id, triggering_user_name="ana")
    return operator.execute({"dag_run": run, "ti": SimpleNamespace(map_index=map_index)})


def update(**changes: Any) -> dict[str, Any]:
    return execute(UpdateLeadOperator(task_id="update", lead_id=changes.pop("lead_id", LEAD), **changes))


def lead() -> dict[str, Any]:
    hook = PlatformHook()
    try:
        return hook.get_lead(LEAD)
    finally:
        hook.close()


def sent(sandbox, operation: str = "update_lead") -> int:
    return sandbox.state("platform", rows=False)["calls"].get(operation, 0)


def evidence() -> str:
    from listkeeper.hooks.ledger import ledger_url
    from sqlalchemy import create_engine, text

    open_ledger()
    engine = create_engine(ledger_url())
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT kind, body FROM evidence ORDER BY seq")).all()
    engine.dispose()
    return "\n".join(f"{row.kind} {row.body}" for row in rows)


# --- create


def create(**fields: Any) -> dict[str, Any]:
    about = {"listId": 300, "customerKey": "SECRET-1", "phone1": PHONE} | fields
    return execute(CreateLeadOperator(task_id="create", fields=about))


def test_a_lead_is_created_once(sandbox):
    first = create(agentId=None)
    assert first["created"] is True
    assert create() == {"lead_id": first["lead_id"], "created": False}
    assert sent(sandbox, "create_lead") == 1
    told = evidence()
    assert "\nlead_created " in told and not any(secret in told for secret in (PHONE, "SECRET-1"))


@pytest.mark.parametrize(("fault", "calls"), [("drop_after", 1), ("drop_before", 2)])
def test_a_lead_whose_creation_got_no_answer_is_looked_up(sandbox, fault, calls):
    sandbox.fault("platform", fault, op="create_lead")
    with pytest.raises(LostAnswerError):
        create()
    create()  # as Airflow tries again
    hook = PlatformHook()
    assert len(hook.find_leads(LeadQuery(listId=300, customerKey="SECRET-1"))) == 1
    hook.close()
    assert sent(sandbox, "create_lead") == calls


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"customerKey": None}, "customerKey is needed"),
        ({"customerKey": ""}, "customerKey is needed"),
        ({"listId": "300"}, "listId must be a whole number"),
        ({"phone": PHONE}, "no field of a lead"),
    ],
)
def test_a_lead_that_could_not_be_found_again_is_not_created(sandbox, fields, word):
    with pytest.raises(AirflowFailException, match=word) as raised:
        create(**fields)
    assert sent(sandbox, "create_lead") == 0 and PHONE not in str(raised.value)


# --- update


def test_an_update_sends_what_differs_and_tells_no_value(sandbox):
    before = lead()
    changed = update(fields={"phone2": PHONE, "statusCode": before["lastStatusCode"], "agentId": 1002})
    assert changed == {"lead_id": LEAD, "changed": ["agentId", "phone2"]}
    after = lead()
    assert after["agentId"] == 1002
    assert {"phoneIndex": 2, "phoneNumber": PHONE, "dialAttempts": 0} in after["phones"]
    assert after["dataFields"] == before["dataFields"]
    told = evidence()
    assert told.startswith("lead_updated_intended") and "\nlead_updated " in told
    assert "phone2" in told and PHONE not in told
    # Once more: there is nothing to change, so nothing is sent.
    assert update(fields={"phone2": PHONE})["changed"] == []
    assert sent(sandbox) == 1
    assert evidence() == told


def test_free_fields_keep_their_neighbours(sandbox):
    before = lead()["dataFields"]
    assert update(fields={"leadData": {"note": "call later"}})["changed"] == ["leadData"]
    assert lead()["dataFields"] == {**before, "note": "call later"}
    assert update(clear=["leadData.note"])["changed"] == ["leadData"]
    assert lead()["dataFields"] == before


def test_completing_is_one_way_and_has_its_own_switch(sandbox):
    with pytest.raises(AirflowFailException, match="switch of its own"):
        update(fields={"isCompleted": True})
    assert update(complete=True)["changed"] == ["isCompleted"]
    assert lead()["completed"] is True
    assert update(complete=True)["changed"] == []
    assert sent(sandbox) == 1


def test_no_null_by_accident(sandbox, monkeypatch):
    update(fields={"phone2": PHONE})
    with pytest.raises(AirflowFailException, match="phone2 must not be null"):
        update(fields={"phone2": None})
    with pytest.raises(AirflowFailException, match="null_clears"):
        update(clear=["phone2"])
    assert sent(sandbox) == 1
    # A tenant that clears on null says so in its connection.
    sandbox.switch("platform", null_clears=True)
    connect(monkeypatch, sandbox, null_clears=True)
    assert update(clear=["phone2"])["changed"] == ["phone2"]
    assert [phone["phoneIndex"] for phone in lead()["phones"]] == [1]


def test_an_update_whose_answer_is_lost_is_sent_again(sandbox):
    sandbox.fault("platform", "drop_after", op="update_lead")
    assert update(fields={"agentId": 1002})["changed"] == ["agentId"]
    assert (lead()["agentId"], sent(sandbox)) == (1002, 2)


def test_an_update_of_nobody(sandbox):
    with pytest.raises(NotFoundError):
        update(lead_id=1, fields={"agentId": 1001})
    with pytest.raises(AirflowFailException, match="whole number"):
        update(lead_id="Ana", fields={"agentId": 1001})
    assert evidence() == ""


def test_a_field_of_a_template_is_rendered_but_shown_nowhere():
    operator = UpdateLeadOperator(task_id="u", lead_id="1", fields={"phone1": "{{ params.phone }}"})
    assert "fields" not in operator.template_fields
    assert operator.render_template(operator.fields, {"params": {"phone": PHONE}}) == {"phone1": PHONE}


# --- delete


def delete(run_id: str = "manual__1", **changes: Any) -> dict[str, Any]:
    about = {"lead_id": LEAD, "reason": "asked for it", "released": True} | changes
    return execute(DeleteLeadOperator(task_id="delete", **about), run_id=run_id)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"released": False}, "released=True"),
        ({"released": "yes"}, "released=True"),
        ({"reason": None}, "give the reason"),
        ({"reason": "  "}, "give the reason"),
        ({"lead_id": "all"}, "whole number"),
    ],
)
def test_a_delete_that_is_not_released_sends_nothing(sandbox, changes, word):
    with pytest.raises(AirflowFailException, match=word):
        delete(**changes)
    assert sent(sandbox, "delete_lead") == 0
    assert evidence() == ""
    assert lead()["leadId"] == LEAD


def test_a_released_delete(sandbox):
    assert delete() == {"lead_id": LEAD, "deleted": True}
    with pytest.raises(NotFoundError):
        lead()
    told = evidence()
    assert "lead_deleted_intended" in told and '"reason":"asked for it"' in told.replace(": ", ":")
    assert '"requested_by":"ana"' in told.replace(": ", ":")
    # A second one is a mistake, not a success.
    with pytest.raises(NotFoundError):
        delete("manual__2")
    assert evidence().count("lead_deleted ") == 1


def test_a_404_after_a_lost_answer_means_that_it_is_done(sandbox):
    sandbox.fault("platform", "drop_after", op="delete_lead")
    assert delete()["deleted"] is True
    assert sent(sandbox, "delete_lead") == 2
    assert "\nlead_deleted " in evidence()


def test_a_delete_whose_worker_died_is_done_by_the_next_try(sandbox, monkeypatch):
    real = PlatformHook.delete_lead

    def dies(hook, lead_id):
        real(hook, lead_id)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(PlatformHook, "delete_lead", dies)
        delete()
    for _ in range(2):  # as when it dies once more, after it has told
        assert delete()["deleted"] is True
    assert sent(sandbox, "delete_lead") == 1 and evidence().count("lead_deleted ") == 1
    with pytest.raises(NotFoundError):
        delete("manual__2")


def test_a_delete_that_nobody_answered_is_an_intent(sandbox):
    sandbox.fault("platform", "drop_before", op="delete_lead", times=None)
    with pytest.raises(LostAnswerError):
        delete()
    assert "lead_deleted_intended" in evidence() and "lead_deleted " not in evidence()


def test_a_wrong_token_leaves_no_intent(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PLATFORM_DEFAULT", json.dumps({"conn_type": "platform", "host": "x"}))
    with pytest.raises(AuthenticationError):
        delete()
    assert evidence() == ""


# --- presence


def presence(**changes: Any) -> dict[str, Any]:
    return execute(
        SetPresenceOperator(task_id="presence", **({"agent_id": 1001, "available": False} | changes))
    )


def test_an_agent_is_made_available_or_not(sandbox):
    assert presence() == {"agent_id": 1001, "available": False}
    assert presence(agent_id="1001", available=True) == {"agent_id": 1001, "available": True}
    assert evidence().count("presence_set ") == 2
    with pytest.raises(NotFoundError):
        presence(agent_id=7)


def test_an_agent_who_stays_as_he_was_is_an_error(sandbox, monkeypatch):
    monkeypatch.setattr(PlatformHook, "set_presence", lambda *_, available: not available)
    with pytest.raises(AirflowFailException, match="still available"):
        presence()
    assert "lead" not in evidence()


# --- media


def download(media_id: Any, map_index: int = -1) -> dict[str, Any]:
    return execute(DownloadMediaOperator(task_id="fetch", media_id=media_id), map_index)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_recording_goes_to_staging(sandbox, as_json):
    sandbox.switch("platform", media_as_json=as_json)
    told = download("5300")
    assert told["bytes"] == len(RECORDING) and told["file"].startswith("media-5300.")
    assert "ID3" not in json.dumps(told)
    with RunFolder(told["path"]).reading(told["file"]) as (file,):
        assert file.read_bytes() == RECORDING


def test_mapped_downloads_do_not_overwrite_each_other(sandbox):
    places = {download(media_id, index)["path"] for index, media_id in enumerate((5300, 7003))}
    assert len(places) == 2


def test_a_download_cut_short_is_made_again(sandbox):
    sandbox.fault("platform", "truncated", op="get_media")
    assert download(5300)["bytes"] == len(RECORDING)


def test_a_deleted_recording_is_told_as_such(sandbox):
    deleted = next(
        number
        for number in range(5300, 5500)
        if (found := _recording(number)) is not None and found.get("deleted") is True
    )
    with pytest.raises(NotFoundError):
        download(deleted)


def _recording(media_id: int) -> dict[str, Any] | None:
    hook = PlatformHook()
    try:
        return hook.get_recording(media_id)
    except NotFoundError:
        return None
    finally:
        hook.close()
