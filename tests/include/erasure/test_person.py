"""Whom an erasure is about: every spelling is found, and nobody else."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.erasure.person import Person, PersonError

US, AU = Person.of("+1 (212) 555-0101", None), Person.of("+61 491 570 156", None)
BOB = Person.of(None, " Bob.Smith+x@Example.com ")


@pytest.mark.parametrize(
    ("person", "text"),
    [
        (US, "2125550101"),
        (US, "+12125550101"),
        (US, "12125550101"),
        (US, "001 212 555 0101"),
        (US, "011-1-212-555-0101"),
        (US, "(212) 555-0101 ext. 7"),
        (US, '{"mobile":2125550101}'),
        (US, '{"mobile":"1 (212)555.0101"}'),
        (US, "2125550101.0"),
        (US, "called 212/555/0101, twice"),
        (AU, "0491 570 156"),
        (AU, "+61 (0)491570156"),
        (AU, "0061491570156"),
        (AU, "491570156"),
        (BOB, "BOB.SMITH+X@EXAMPLE.COM"),
        (BOB, '{"Email":"bob.smith+x@example.com"}'),
        (BOB, "write to <bob.smith+x@example.com>."),
        (BOB, "bob.smith+x@example.com."),
    ],
)
def test_every_spelling_is_found(person, text):
    assert person.in_text(text)
    assert pl.Series([text]).str.contains(person.pattern).item(), "polars finds what Python finds"


@pytest.mark.parametrize(
    ("person", "text"),
    [
        (US, "2125550102"),
        (US, "92125550101"),
        (US, "21255501010"),
        (US, "4412125550101"),
        (US, "212555 and 0101 more"),
        (BOB, "abob.smith+x@example.com"),
        (BOB, "bob.smith+x@example.com.au"),
        (BOB, "bobasmith+x@example.com"),
        (BOB, "bob.smith+x@example.community"),
    ],
)
def test_others_are_not(person, text):
    assert not person.in_text(text)
    assert not pl.Series([text]).str.contains(person.pattern).item()


@given(st.text(alphabet='0123456789+-() .,a"', max_size=30))
def test_python_and_polars_agree(text):
    assert pl.Series([text]).str.contains(US.pattern).item() == US.in_text(text)


@pytest.mark.parametrize(
    "given_", [(None, None), ("", " "), ("2125550101", None), ("+1", None), (None, "bob")]
)
def test_who_names_nobody_is_refused(given_):
    with pytest.raises(PersonError):
        Person.of(*given_)


def test_nothing_shows_who_it_is():
    both = Person.of("+12125550101", "bob@example.com")
    assert both.masked == "a number that ends in …01 and an e-mail address"
    assert "0101" not in repr(both) and "bob" not in repr(both)
    assert both.numbers() == [12125550101, 2125550101]
