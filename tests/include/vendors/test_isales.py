"""CC-iSales' requests and answers as the client must build and read them, and what an import ends as."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    RateLimitedError,
    RequestRefusedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from include.vendors.isales import (
    CODES,
    PAGE_SIZE,
    SUCCESS,
    FileServer,
    ImportRefusedError,
    ImportTakenError,
    add_server_path,
    add_server_request,
    file_name_problem,
    folder_problem,
    import_path,
    import_request,
    read_added_server,
    read_answer,
    read_import,
    read_servers,
    read_time,
    servers_path,
    servers_request,
    taken_import,
    tasks_path,
    tasks_request,
)
from include.vendors.isales_tasks import ImportTask, judge, read_tasks

SAMPLES = Path(__file__).parents[2] / "samples" / "isales"
SERVER = "164690088271159234793429225848"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def answered(code: str, **more: object) -> bytes:
    return json.dumps({"resultCode": code, "returnCode": code, **more}).encode()


# --- requests


def test_the_import_request_of_the_page():
    assert import_path(1, "1803096731904991234").endswith(
        "/1/calldatafile/uploadFileServer/1803096731904991234"
    )
    body = import_request(server=SERVER, folder="/isales/20220310", file_name="demo.xlsx")
    assert body == json.dumps(
        {"serverId": SERVER, "filePath": "/isales/20220310", "fileName": "demo.xlsx"}, separators=(",", ":")
    )
    assert len(body.encode()) == 98


def test_the_default_path_is_left_out_and_a_time_is_two_strings():
    body = json.loads(import_request(server="1", file_name="客户.xlsx", import_at="2:05"))
    assert body == {"serverId": "1", "fileName": "客户.xlsx", "hour": "2", "minute": "05"}
    assert "客户" in import_request(server="1", file_name="客户.xlsx")


@pytest.mark.parametrize("vdn", [0, 10_000, -1])
def test_a_vdn_is_1_to_9999(vdn):
    with pytest.raises(ValueError, match="vdn_id: must be 1 to 9999"):
        import_path(vdn, "1")
    assert import_path(9999, "1").count("/9999/") == 1


@pytest.mark.parametrize("campaign", ["", "1/2", "1?x=1", "a b", "x" * 65])
def test_a_campaign_is_an_id(campaign):
    with pytest.raises(ValueError, match="campaign"):
        tasks_path(1, campaign)


@pytest.mark.parametrize(
    "name", ["x.xls", "a/b.xlsx", "a\\b.xlsx", "a\nb.xlsx", "a..b.xlsx", "x" * 96 + ".xlsx"]
)
def test_file_names_that_the_vendor_would_refuse(name):
    assert file_name_problem(name)
    with pytest.raises(ValueError, match="xlsx"):
        import_request(server="1", file_name=name)


@pytest.mark.parametrize("folder", ["../x", "/a/../b", "/a..b", "/" + "x" * 200, "a\\b", "a\x00b"])
def test_folders_that_the_vendor_would_refuse(folder):
    assert folder_problem(folder)
    with pytest.raises(ValueError, match="folder"):
        import_request(server="1", file_name="x.xlsx", folder=folder)


def test_a_folder_may_hold_dots():
    assert folder_problem("/isales/2022.03.10") is None


@pytest.mark.parametrize("text", ["24:00", "2", "02:60", "noon", "2:5", ""])
def test_a_time_that_is_none(text):
    with pytest.raises(ValueError, match="HH:MM"):
        read_time(text)


def test_the_other_requests():
    assert json.loads(tasks_request(3, ["1"])) == {"offset": 200, "limit": PAGE_SIZE, "importTaskIds": ["1"]}
    assert json.loads(tasks_request(1)) == json.loads(servers_request(1)) == {"offset": 0, "limit": 100}
    assert servers_path(7).endswith("/7/file/queryServer") and add_server_path(7).endswith(
        "/7/file/addServer"
    )
    made = add_server_request(host="10.0.0.1", port=22, user="lk", password="long enough", path="/home/sftp")
    assert json.loads(made) == {
        "userName": "lk",
        "serverPwd": "long enough",
        "serverInfo": {"ip": "10.0.0.1", "port": "22", "filePath": "/home/sftp"},
    }


@pytest.mark.parametrize(
    "changes", [{"user": "a b"}, {"user": "x" * 31}, {"password": "short"}, {"password": "x" * 81}]
)
def test_file_servers_that_the_vendor_would_refuse(changes):
    with pytest.raises(ValueError, match="file server") as error:
        add_server_request(
            **{"host": "h", "port": 22, "user": "lk", "password": "long enough", "path": "/"} | changes
        )
    assert changes.get("password", "long enough") not in str(error.value)


# --- answers


def test_the_printed_success():
    assert read_import(read_answer(200, {}, sample("accepted.json"))) == "164870990605164487770867067540"


def test_the_page_s_own_sample_is_no_json_and_said_so():
    with pytest.raises(UnexpectedAnswerError, match="its text is no JSON") as error:
        read_answer(200, {}, sample("broken.txt"))
    assert isinstance(taken_import(error.value), ImportTakenError)


@pytest.mark.parametrize("code", [*CODES, "0200", "02000000", "200000", "0200002", "", "0200000 "])
def test_no_code_but_the_whole_success_is_one(code):
    """`0200000` begins eight codes of errors, and `0200001` and `02000001` are two codes."""
    assert code != SUCCESS
    with pytest.raises((RequestRefusedError, RateLimitedError, LostAnswerError)) as error:
        read_answer(200, {}, answered(code))
    assert code in str(error.value)


def test_a_code_says_what_it_means_and_what_to_do():
    with pytest.raises(ImportRefusedError) as error:
        read_answer(200, {}, answered("0200007", resultDesc="no campaign\n1803096731904991234"))
    assert error.value.code == "0200007"
    assert str(error.value) == (
        'iSales refused the request with 0200007: the campaign does not exist. The vendor says: "no campaign …". '
        "Check `vdn_id` and `campaign` in the flow file."
    )


def test_one_code_and_a_third_name_for_the_text():
    with pytest.raises(ImportRefusedError, match=r'02000005.*The vendor says: "too long"'):
        read_answer(200, {}, b'{"resultCode": "02000005", "description": "too long"}')
    assert read_answer(200, {}, b'{"returnCode": "0200000", "x": 1}')["x"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"resultCode": 200000}',
        b'{"resultCode":"0200000","returnCode":"0200001"}',
        b'{"resultCode":"0200000","returnCode":200000}',
        b'{"resultCode":["0200000"]}',
        b'{"resultCode":{"code":"0200000"},"returnCode":{}}',
    ],
)
def test_what_is_no_answer(body):
    with pytest.raises(UnexpectedAnswerError):
        read_answer(200, {}, body)


@pytest.mark.parametrize("task", [None, "", 164870990605164487770867067540])
def test_an_accepted_import_without_a_task(task):
    with pytest.raises(UnexpectedAnswerError, match="importTaskId"):
        read_import(json.loads(answered(SUCCESS, importTaskId=task)))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, RequestRefusedError),
        (415, RequestRefusedError),
        (302, RequestRefusedError),
        (500, LostAnswerError),
        (502, LostAnswerError),
        (503, UnavailableError),
    ],
)
def test_http_errors(status, error):
    with pytest.raises(error, match=str(status)):
        read_answer(status, {}, b"{}")


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_is_read_by_its_code(status):
    assert read_import(read_answer(status, {}, answered(SUCCESS, importTaskId="7"))) == "7"
    with pytest.raises(ImportRefusedError):
        read_answer(status, {}, answered("0200007"))
    with pytest.raises(UnexpectedAnswerError):  # taken, so it is not asked for again
        read_answer(status, {}, b"")


def test_how_long_to_wait():
    with pytest.raises(RateLimitedError) as error:
        read_answer(429, {"Retry-After": "300"}, b"")
    assert error.value.retry_after == 300
    with pytest.raises(RateLimitedError):
        read_answer(200, {}, answered("0200022"))


def test_a_401_tells_of_the_clock():
    with pytest.raises(AuthenticationError, match=r"secret \(SK\).* Our clock is late"):
        read_answer(401, {}, b"", " Our clock is late.")


# --- tasks


def tasks(**changes: object) -> list[ImportTask]:
    found = json.loads(sample("tasks.json"))
    found["result"][0] |= changes
    return read_tasks(found)


def test_the_printed_task():
    assert tasks() == [ImportTask("164870990605164487770867067540", "2", 0, 0, 0, None, "")]
    assert tasks()[0].ended


@pytest.mark.parametrize(("status", "ended"), [("0", False), ("1", False), ("2", True), ("3", True)])
def test_states(status, ended):
    assert tasks(status=status)[0].ended is ended
    assert tasks(status=int(status)) == tasks(status=status)


@pytest.mark.parametrize("status", ["4", "", "FINISHED", 9])
def test_an_unknown_state_has_not_ended(status):
    """It may be somebody else's task: it must not keep us from reading ours."""
    assert not tasks(status=status)[0].ended


@pytest.mark.parametrize("counted", [{}, {"count": 0}, {"count": None}])
def test_a_null_is_a_page_without_tasks(counted):
    assert read_tasks({"result": None, **counted}) == []


@pytest.mark.parametrize("answer", [{}, {"count": 0}, {"result": None, "count": 1}, {"result": {}}])
def test_what_is_no_page_of_tasks(answer):
    with pytest.raises(UnexpectedAnswerError, match="list of tasks"):
        read_tasks(answer)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 1},
        {"status": None},
        {"status": ["2"]},
        {"status": True},
        {"succNum": "x"},
        {"blackNum": ""},
        {"failNum": -1},
        {"repeatNum": True},
    ],
)
def test_tasks_that_cannot_be_read(changes):
    with pytest.raises(UnexpectedAnswerError):
        tasks(**changes)


def test_counts_in_quotes_are_counts():
    assert tasks(succNum="3", repeatNum="0", failNum="12") == tasks(succNum=3, repeatNum=0, failNum=12)


def test_a_preparing_task_counts_nothing_yet():
    assert tasks(status="0", succNum=None, repeatNum=None, failNum=None)[0].counted == 0


def task(
    status: str = "2", imported: int = 0, repeated: int = 0, failed: int = 0, black: int | None = None
) -> ImportTask:
    return ImportTask("1", status, imported, repeated, failed, black, "the file is not there")


@pytest.mark.parametrize(
    ("ended", "rows", "expected", "words"),
    [
        (task(imported=10), 10, (10, 0, 0), None),
        (task(imported=3, repeated=1, failed=2), 6, (3, 3, 0), None),
        (task(imported=3, repeated=1, failed=1, black=1), 6, (3, 3, 0), None),
        (task(), 10, (0, 0, 10), "counted only 0 of 10"),
        (task(imported=4), 10, (4, 0, 6), "counted only 4 of 10"),
        (task(repeated=10), 10, (0, 10, 0), "not one record was new: 10 of them were repeats"),
        (task(imported=11), 10, (0, 0, 10), "counted 11 records of 10"),
        (task("3"), 10, (0, 10, 0), 'not one record was taken. The vendor says: "the file is not there"'),
        (task("3", imported=4), 10, (4, 0, 6), "failed after 4 of 10"),
        (task("3", failed=10), 10, (0, 10, 0), "failed after 10 of 10"),
    ],
)
def test_the_counts_decide(ended, rows, expected, words):
    outcome = judge(ended, rows)
    assert (outcome.delivered, outcome.rejected, outcome.uncertain) == expected
    assert (words in outcome.problem) if words else outcome.problem is None


@given(
    st.builds(
        ImportTask,
        st.just("1"),
        st.sampled_from("23"),
        *[st.integers(0, 50)] * 3,
        st.none() | st.integers(0, 50),
        st.just(""),
    ),
    st.integers(1, 200),
)
def test_every_row_ends_once_and_green_means_all_counted(ended, rows):
    outcome = judge(ended, rows)
    assert outcome.delivered + outcome.rejected + outcome.uncertain == rows
    assert min(outcome.delivered, outcome.rejected, outcome.uncertain) >= 0
    if outcome.problem is None:
        assert ended.status == "2" and outcome.uncertain == 0 and outcome.delivered > 0


def test_the_vendor_s_counts_by_name():
    ended = task(imported=3, repeated=1, failed=2)
    assert ended.vendor_counts == {"valid": 3, "repeated": 1, "failed": 2}
    assert replace(ended, blacklisted=4).vendor_counts == {
        "valid": 3,
        "repeated": 1,
        "failed": 2,
        "blacklisted": 4,
    }


# --- file servers


def test_file_servers_with_nulls():
    found = json.loads(
        answered(SUCCESS, server=[{"serverId": "1", "ip": "h", "port": 22, "userName": None}, {"ip": "x"}])
    )
    assert read_servers(found) == [FileServer("1", "h", "22", "", "")]
    assert read_added_server({"serverId": "7"}) == "7"
    for wrong in ({}, {"serverId": None}):
        with pytest.raises(UnexpectedAnswerError):
            read_added_server(wrong)
        with pytest.raises(UnexpectedAnswerError):
            read_servers(wrong)
