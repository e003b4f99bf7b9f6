"""Ozonetel's files of failed rows as the client must read them."""

from __future__ import annotations

import pytest

from include.vendors.errors import (
    UnexpectedAnswerError,
)
from include.vendors.ozonetel import (
    file_problem,
    read_failed_rows,
)
from tests.include.vendors.ozonetel.samples import RECORD

HEADER = ["PhoneNumber", "Name"]


def test_failed_rows_are_read_with_the_vendors_reason():
    data = b'\xef\xbb\xbfPhoneNumber,Name,Reason\r\n+91 98765-43210,"O\'Neil, A",Invalid Name\r\n\r\n2,B,Duplicate\r\n'
    first, second = read_failed_rows(data, HEADER)
    assert (first.phone, first.cells) == ("919876543210", ("+91 98765-43210", "O'Neil, A"))
    assert (first.reason, first.duplicate) == ("Invalid Name", False)
    assert (second.reason, second.duplicate) == ("Duplicate", True)
    assert "98765" not in repr(first) and "Neil" not in repr(first)


def test_the_reason_stands_under_any_other_header_and_the_word_is_a_setting():
    (row,) = read_failed_rows(b"Why,PhoneNumber\nschon da,12", HEADER, duplicate="Schon")
    assert (row.reason, row.duplicate, row.cells) == ("schon da", True, ("12", ""))


@pytest.mark.parametrize("data", [b"", b"<Error>AccessDenied</Error>", b"a,b\n1,2\n"])
def test_what_is_no_file_of_failed_rows(data):
    with pytest.raises(UnexpectedAnswerError):
        read_failed_rows(data, HEADER)


HOSTS = [".amazonaws.com", "files.example"]


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        (RECORD["failedFilePath"], True),
        ("https://files.example/x", True),
        ("http://b.s3.amazonaws.com/x", False),
        ("https://amazonaws.com.evil.example/x", False),
        ("https://evilamazonaws.com/x", False),
        ("https://b.amazonaws.com@evil.example/x", False),
        ("https://u:p@files.example/x", False),
        ("https://169.254.169.254/latest", False),
        ("file:///etc/passwd", False),
        ("https://[", False),
        ("", False),
        ("http://127.0.0.1:8900/x", False),
    ],
)
def test_only_the_vendors_own_file_is_fetched(url, fine):
    problem = file_problem(url, HOSTS, allow_http=False)
    assert (problem is None) == fine
    assert problem is None or "evil" not in problem


def test_a_sandbox_may_serve_the_file_over_http():
    assert file_problem("http://127.0.0.1:8900/x", HOSTS, allow_http=True) is None
    assert file_problem("http://files.example/x", HOSTS, allow_http=True) is None
    assert file_problem("http://192.168.0.1/x", HOSTS, allow_http=True) is not None
