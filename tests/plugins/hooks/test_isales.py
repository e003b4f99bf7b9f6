"""The iSales hook against the sandbox (strict signatures) and against servers that misbehave."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest
from listkeeper.hooks import isales as module
from listkeeper.hooks.isales import IsalesHook
from listkeeper.hooks.sftp import SftpUploadHook

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)
from include.vendors.isales import ImportRefusedError, ImportTakenError
from include.vendors.isales_rows import COLUMNS
from include.workbooks import write_workbook
from tests.plugins.hooks.conftest import reply

GOOD = '[{"calledNo":"12012000001"}]'


@pytest.fixture
def tenant(sandbox, connect):
    """The sandbox's tenant, its connections, and a hook."""
    told = sandbox.info()["isales"]
    sandbox.switch("isales", step_seconds=0)
    connect("isales_default", sandbox.base_url, told["sk"], login=told["ak"], extra={"timeout": 120})
    sftp = told["sftp"]
    connect(
        "isales_sftp",
        sftp["host"],
        sftp["password"],
        conn_type="sftp",
        login=sftp["user"],
        port=sftp["port"],
        extra={"host_key": sftp["host_key"]},
    )
    hook = IsalesHook()
    campaign = {"vdn_id": told["vdn_id"], "campaign": told["campaigns"]["plain"]}

    def ask(**changes):
        return hook.import_file(**{**campaign, "server": told["server_id"], "file_name": "x.xlsx"} | changes)

    yield SimpleNamespace(
        sandbox=sandbox, hook=hook, told=told, campaign=campaign, ask=ask, sftp=sftp, connect=connect
    )
    hook.close()


@pytest.fixture
def upload(tenant, tmp_path):
    """Bring rows as a workbook to the file server."""

    def put(rows: list[dict[str, str | None]], name: str = "x.xlsx") -> None:
        path = tmp_path / name
        write_workbook(path, COLUMNS, [pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String))])
        SftpUploadHook().upload(path, f"{tenant.sftp['folder']}/{name}")

    return put


def ended(tenant, task_id):
    """The task when it has ended."""
    while True:
        (task,) = tenant.hook.tasks(**tenant.campaign, task_ids=[task_id])
        if task.ended:
            return task


def test_a_workbook_is_imported(tenant, upload):
    upload([{"sessionId": str(n), "called": f'[{{"calledNo":"120120000{n}"}}]'} for n in range(10, 20)])
    task_id = tenant.ask()
    assert len(task_id) == 30
    task = ended(tenant, task_id)
    assert (task.status, task.imported, task.counted, task.error) == ("2", 10, 10, "")
    state = tenant.sandbox.state("isales")["campaigns"][tenant.campaign["campaign"]]
    assert [row["sessionId"] for row in state["rows"]] == [str(n) for n in range(10, 20)]


def test_repeats_and_bad_rows_are_counted_apart(tenant, upload):
    good = [{"called": f'[{{"calledNo":"120120000{n}"}}]'} for n in range(10, 13)]
    upload([*good, good[0], {"called": "[]"}, {"called": '[{"calledNo":"x"}]'}])
    task = ended(tenant, tenant.ask())
    assert (task.imported, task.repeated, task.failed) == (3, 1, 2)
    again = ended(tenant, tenant.ask())
    assert (again.imported, again.repeated, again.failed) == (0, 4, 2)


def test_the_status_of_a_campaign(tenant):
    told = tenant.told["campaigns"]
    statuses = [tenant.hook.campaign_status(vdn_id=1, campaign=told[name]) for name in told]
    assert statuses == [module.isales.PAUSED, module.isales.STARTED, module.isales.FINISHED]
    with pytest.raises(ImportRefusedError) as error:
        tenant.hook.campaign_status(vdn_id=1, campaign="7")
    assert error.value.code == module.isales.NO_CAMPAIGN


@pytest.mark.parametrize("form", ["left_out", "empty"])
def test_a_look_at_a_campaign_is_signed_in_either_form(tenant, form):
    tenant.sandbox.switch("isales", query_line=form)
    assert tenant.hook.campaign_status(**tenant.campaign) == module.isales.PAUSED


def test_a_file_that_is_not_there_fails_in_its_task(tenant):
    task = ended(tenant, tenant.ask(file_name="nothing.xlsx"))
    assert task.status == "3" and task.error


def test_the_language_of_the_words(tenant):
    def failure(extra):
        tenant.connect(
            "isales_default", tenant.sandbox.base_url, tenant.told["sk"], login=tenant.told["ak"], extra=extra
        )
        hook = IsalesHook()
        with pytest.raises(ImportRefusedError) as error:
            hook.import_file(vdn_id=1, campaign="7", server="1", file_name="x.xlsx")
        hook.close()
        return str(error.value).split('"')[1]

    english = failure({"locale": "en_US"})
    assert english.isascii() and failure({"locale": "zh_CN"}) != english


# --- signature


@pytest.mark.parametrize(
    "extra",
    [
        {"signed_headers": "host"},
        {"signed_headers": "Host; Content-Type;host"},
        {"milliseconds": False},
        {"empty_query_line": False},
    ],
)
def test_settings_of_the_signature_that_the_server_takes(tenant, extra):
    tenant.connect(
        "isales_default", tenant.sandbox.base_url, tenant.told["sk"], login=tenant.told["ak"], extra=extra
    )
    hook = IsalesHook()
    assert len(hook.file_servers(vdn_id=1)) == 1
    hook.close()


def calls(tenant) -> int:
    return sum(tenant.sandbox.state("isales", rows=False)["calls"].values())


def test_the_other_form_is_tried_once_on_the_first_401_and_kept(tenant, caplog):
    tenant.sandbox.switch("isales", query_line="empty")
    before = calls(tenant)
    for _ in range(3):
        tenant.hook.file_servers(vdn_id=1)
    assert calls(tenant) - before == 4
    assert '"empty_query_line": true' in caplog.text


def test_a_form_that_passed_is_never_doubted(tenant):
    tenant.hook.file_servers(vdn_id=1)
    tenant.sandbox.switch("isales", query_line="empty")
    before = calls(tenant)
    with pytest.raises(AuthenticationError):
        tenant.hook.file_servers(vdn_id=1)
    assert calls(tenant) - before == 1


@pytest.mark.parametrize(("line", "extra"), [("empty", "false"), ("left_out", "true")])
def test_a_form_that_is_set_is_never_left(tenant, line, extra):
    tenant.sandbox.switch("isales", query_line=line)
    setting = {"empty_query_line": extra}
    tenant.connect(
        "isales_default", tenant.sandbox.base_url, tenant.told["sk"], login=tenant.told["ak"], extra=setting
    )
    hook, before = IsalesHook(), calls(tenant)
    with pytest.raises(AuthenticationError):
        hook.file_servers(vdn_id=1)
    assert calls(tenant) - before == 1
    hook.close()


@pytest.mark.parametrize("changes", [{"password": "another"}, {"login": "another"}])
def test_a_wrong_key(tenant, changes, nothing_leaks):
    given = {"password": tenant.told["sk"], "login": tenant.told["ak"]} | changes
    tenant.connect("isales_default", tenant.sandbox.base_url, given["password"], login=given["login"])
    hook = IsalesHook()
    with pytest.raises(AuthenticationError, match="access key") as error:
        hook.file_servers(vdn_id=1)
    assert "clock" not in str(error.value)
    nothing_leaks(error.value, tenant.told["sk"], "auth-v2/")
    assert hook.test_connection()[0] is False


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_wrong_clock_is_told(raw, connect, minutes):
    ours = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    server = f"{ours - timedelta(minutes=minutes):%a, %d %b %Y %H:%M:%S} GMT"
    raw.answer = lambda _, handler: handler.wfile.write(
        f"HTTP/1.1 401 x\r\nDate: {server}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
    )
    connect("isales_default", raw.url, "sk", login="ak")
    with pytest.raises(
        AuthenticationError, match=f"16 minutes {'ahead of' if minutes > 0 else 'behind'} the server"
    ):
        IsalesHook(now=lambda: ours).file_servers(vdn_id=1)


def test_the_sandbox_s_clock_at_its_tolerance(tenant):
    now = datetime.now(UTC)
    for minutes, passes in ((14, True), (16, False), (-16, False)):
        hook = IsalesHook(now=lambda at=now + timedelta(minutes=minutes): at)
        assert hook.test_connection()[0] is passes


@pytest.mark.parametrize(
    ("login", "extra"),
    [
        (None, {}),
        ("a/b", {}),
        ("ak", {"signed_headers": "content-type"}),
        ("ak", {"signed_headers": "host;x-date"}),
        ("ak", {"signed_headers": "host,content-type"}),
        ("ak", {"empty_query_line": "perhaps"}),
        ("ak", {"vdn": 1}),
    ],
)
def test_connections_that_cannot_work_are_told_before_anything_is_sent(raw, connect, login, extra):
    connect("isales_default", raw.url, "sk", login=login, extra=extra)
    ok, words = IsalesHook().test_connection()
    assert not ok and "isales_default" in words and raw.requests == []


def test_what_is_signed_is_what_is_sent(raw, connect):
    raw.answer = lambda _, handler: reply(handler, body=b'{"resultCode":"0200000","importTaskId":"1"}')
    connect("isales_default", raw.url, "sk", login="ak")
    IsalesHook().import_file(vdn_id=7, campaign="9", server="1", file_name="客户 名单.xlsx", import_at="2:30")
    (request,) = raw.requests
    assert request.headers["host"] == raw.address
    assert request.headers["content-type"] == "application/json; charset=UTF-8"
    assert request.headers["content-length"] == str(len(request.body))
    assert json.loads(request.body)["fileName"] == "客户 名单.xlsx" and "客户" in request.body.decode()
    assert request.headers["authorization"].split("/")[3] == "content-length;content-type;host"
    assert "7/calldatafile/uploadFileServer/9" in request.path


def test_a_ca_file_of_the_server_s_own(encrypted, connect, certificate):
    encrypted.answer = lambda _, handler: reply(handler, body=b'{"resultCode":"0200000","server":[]}')
    connect("isales_default", encrypted.url, "sk", login="ak", extra={"verify": str(certificate)})
    assert IsalesHook().file_servers(vdn_id=1) == []
    connect("isales_default", encrypted.url, "sk", login="ak")
    with pytest.raises(UnavailableError, match="certificate is not trusted"):
        IsalesHook().file_servers(vdn_id=1)


# --- answers


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"campaign": "7"}, "0200007"),
        ({"server": "7"}, "0200001"),
        ({"vdn_id": 9}, "0200007"),
    ],
)
def test_refusals_have_their_code(tenant, asked, code):
    with pytest.raises(ImportRefusedError) as error:
        tenant.ask(**asked)
    assert error.value.code == code


def test_a_finished_campaign(tenant):
    with pytest.raises(ImportRefusedError, match="0200019"):
        tenant.ask(campaign=tenant.told["campaigns"]["finished"])


@pytest.mark.parametrize("code", ["02000001", "02000010", "0200001", "0200999", "12345"])
def test_no_error_is_taken_for_a_success(tenant, code):
    tenant.sandbox.switch("isales", import_code=code)
    with pytest.raises(VendorError, match=code):
        tenant.ask()


def test_an_error_with_one_code_and_a_third_name(tenant):
    tenant.sandbox.switch("isales", short_errors=True)
    with pytest.raises(ImportRefusedError, match=r"0200007.*The vendor says"):
        tenant.ask(campaign="7")


def test_the_broken_sample_is_a_lost_answer(tenant):
    tenant.sandbox.switch("isales", broken_sample=True)
    with pytest.raises(ImportTakenError, match="its text is no JSON") as error:
        tenant.ask()
    assert error.value.http_status == 200
    assert len(tenant.hook.tasks(**tenant.campaign)) == 1


def test_what_would_be_refused_is_not_asked(tenant):
    before = calls(tenant)
    for changes in (
        {"vdn_id": 0},
        {"vdn_id": 10_000},
        {"file_name": "x.txt"},
        {"folder": "/../x"},
        {"import_at": "25:00"},
    ):
        with pytest.raises(ValueError, match=r"vdn_id|xlsx|folder|HH:MM"):
            tenant.ask(**changes)
    assert calls(tenant) == before


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"fault": "drop_before"}, LostAnswerError),
        ({"fault": "drop_after"}, LostAnswerError),
        ({"fault": "truncated"}, VendorError),
        ({"fault": "status", "status": 500}, LostAnswerError),
        ({"fault": "status", "status": 503}, UnavailableError),
        ({"fault": "status", "status": 429, "retry_after": 300}, RateLimitedError),
    ],
)
def test_faults_on_the_way(tenant, fault, error):
    tenant.hook.file_servers(vdn_id=1)
    tenant.sandbox.fault("isales", **fault)
    with pytest.raises(error):
        tenant.ask()
    assert len(tenant.hook.tasks(**tenant.campaign)) == (fault["fault"] in ("drop_after", "truncated"))


# --- tasks


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"ignore_task_filter": True},
        {"without_count": True},
        {"oldest_first": True, "ignore_task_filter": True},
    ],
)
def test_tasks_are_filtered_and_paged_here_as_well(tenant, switches, monkeypatch):
    tenant.sandbox.switch("isales", **switches)
    ids = [tenant.ask(file_name=f"{n}.xlsx") for n in range(7)]
    monkeypatch.setattr(module.isales, "PAGE_SIZE", 2)
    assert {task.id for task in tenant.hook.tasks(**tenant.campaign)} == set(ids)
    for wanted in ([ids[0]], [ids[6], ids[3]], ["7" * 30], [ids[2], "7" * 30]):
        found = tenant.hook.tasks(**tenant.campaign, task_ids=wanted)
        assert {task.id for task in found} == set(wanted) & set(ids)


def test_a_server_that_ignores_the_page_ends_the_reading(raw, connect):
    tasks = [{"id": str(n), "status": "0"} for n in range(100)]
    body = json.dumps({"resultCode": "0200000", "result": tasks}).encode()
    raw.answer = lambda _, handler: reply(handler, body=body)
    connect("isales_default", raw.url, "sk", login="ak")
    assert len(IsalesHook().tasks(vdn_id=1, campaign="1")) == 100 and len(raw.requests) == 2


def test_tasks_that_cannot_be_read(raw, connect):
    raw.answer = lambda _, handler: reply(handler, body=b'{"resultCode":"0200000","result":[{}]}')
    connect("isales_default", raw.url, "sk", login="ak")
    with pytest.raises(UnexpectedAnswerError):
        IsalesHook().tasks(vdn_id=1, campaign="1")


def test_a_file_server_is_registered_and_found(tenant, nothing_leaks):
    asked = {"host": "10.0.0.1", "port": 2222, "user": "lk", "password": "0ther-passw0rd", "path": "/data"}
    made = tenant.hook.add_file_server(vdn_id=1, **asked)
    found = {server.id: server for server in tenant.hook.file_servers(vdn_id=1)}[made]
    assert (found.host, found.port, found.user, found.path) == ("10.0.0.1", "2222", "lk", "/data")
    with pytest.raises(ImportRefusedError) as error:
        tenant.hook.add_file_server(vdn_id=1, **asked)
    nothing_leaks(error.value, asked["password"], tenant.told["sk"])


def test_the_test_button(tenant):
    assert tenant.hook.test_connection() == (True, "iSales accepts the signature; VDN 1 has 1 file servers.")


def test_nothing_secret_is_logged(tenant, upload, nothing_leaks):
    upload([{"called": GOOD}])
    ended(tenant, tenant.ask())
    nothing_leaks(None, tenant.told["sk"], "auth-v2/", "12012000001", tenant.sftp["password"])
