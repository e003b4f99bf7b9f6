"""The last net under every log line, XCom and exception: what looks like a phone number, an address or a key is hidden.

Patterns find what has a shape: phone numbers as the vendors and the leads write them, e-mail addresses, the query of
a URL (signatures and customer keys stand there), keys and tokens by their names, callback tokens. Counts, dates, run
ids, hashes, UUIDs and ids of up to nine digits stay readable. A person's name has no shape: it must never get this
far, and what other people's libraries say of a failed row is therefore not repeated at all (`Withheld`).
"""

from __future__ import annotations

import dis
import re
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Final

PHONE: Final = "<phone>"
EMAIL: Final = "<email>"
KEY: Final = "<key>"
TOKEN: Final = "<token>"  # noqa: S105 - what is shown instead of one
QUERY: Final = "?<query>"

_NAMED: Final = (
    r"(?:x[-_])?api[-_]?key|access[-_]?key(?:[-_]?id)?|secret(?:[-_]?(?:access[-_]?)?key)?|(?:\w+[-_])?token|"
    r"password|passwd|passphrase|server_?pwd|signature|private[-_]?key|fernet[-_]?key|client[-_]?secret|"
    r"(?:set-)?cookie|x-amz-\w+(?:-\w+)*"
)
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # A key file, also one that was cut.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), KEY),
    # The log-in inside a URL.
    (re.compile(r"(?<=://)[^\s/@:\"'<>]+:[^\s/@\"'<>]+@"), f"{KEY}@"),
    # The receiver's address, and the relay's folders: vendor and token.
    (re.compile(r"(?i)(?<=callbacks/)([\w%-]+)/[^\s/\"'?,;)\]}]+"), rf"\1/{TOKEN}"),
    # The query of a URL or of a path.
    (re.compile(r"(?<=[\w/])\?[\w.\[\]%-]+=[^\s\"'<>]*"), QUERY),
    # An Authorization header, whatever its scheme, to the end of its value.
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*)(?:b?\"[^\"\r\n]*\"|b?'[^'\r\n]*'|[^\"'\r\n}]+)"
        ),
        rf"\1{KEY}",
    ),
    (re.compile(r"\b(Bearer|Basic|auth-v\d+/)\s?[\w.~+/=-]{8,}"), rf"\1 {KEY}"),
    (
        re.compile(
            rf"(?i)\b((?:{_NAMED})[\"']?\s*[:=]\s*)(?!\s|none\b|null\b|true\b|false\b|<|\*\*\*)"
            r"(?:b?\"[^\"\r\n]*\"|b?'[^'\r\n]*'|[^\s\"',;&(){}\[\]]+)"
        ),
        rf"\1{KEY}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,}(?:\.[\w-]+)*|\bgAAAAA[\w-]{20,}=*"), KEY),
    # 32 random bytes in URL-safe letters, as our callback tokens are; a run's name holds a date.
    (
        re.compile(
            r"(?<![\w-])(?![\w-]*\d{4}-\d\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{43}=?(?![\w=-])"
        ),
        TOKEN,
    ),
    # SSH's algorithms are called like addresses. (Each pattern begins at the beginning of a word, else a long one
    # would be read again from each of its letters.)
    (
        re.compile(
            r"(?<![\w.%+'-])[\w.%+'-]+@(?!\d|(?:open)?ssh\.com\b|libssh\.org\b)[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}"
        ),
        EMAIL,
    ),
)

_GAP: Final = r"[ \t\u00a0\u2007\u202f().\-\u2010-\u2015\u2212]"
_DIGITS: Final = re.compile(
    # What is no number for sure is read first, so that nothing of it is taken for one.
    r"(?P<date>(?<!\d)(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
    r"(?:[T_ ]\d\d[:-]?\d\d(?:[:-]?\d\d(?:[.,]\d+)?)?)?)"
    r"|(?P<uuid>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b)"
    r"|(?P<address>(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]))"
    r"|(?P<plus>(?:(?<![\w+])\+|%2[bB]|\btel:)\(?\d(?:" + _GAP + r"{0,3}\d){6,16}(?![0-9]))"
    r"|(?P<named>(?i:\b(?:phone|mobile|number|tel|telephone|msisdn|caller|callee|cell|fax)\d?(?:_?(?:no|number))?[\"']?\s?[:=#]?\s?[\"']?)"
    r"\(?\d(?:" + _GAP + r"{0,3}\d){6,14}(?![\w]))"
    r"|(?P<bare>(?<![\w.+%-])\(?\d(?:" + _GAP + r"{0,3}\d){8,16}(?![\w]))"
)

_LAST_NUMBER: Final = re.compile(r"\(?\d(?:" + _GAP + r"{0,3}\d){6,14}$")
_NANP: Final = re.compile(r"1?[2-9]\d{2}[2-9]\d{6}")
_STAMP: Final = re.compile(r"20[2-4]\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{0,6}")


def mask(text: str) -> str:
    """The text with everything hidden that looks like a phone number, an e-mail address, a key or a token."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return _DIGITS.sub(_number, text)


def mask_value(value: Any, *, kept: Collection[str] = ()) -> Any:
    """
    The same for all texts inside a value of JSON (dicts, lists, tuples); other values stay as they are.

    :param kept: keys of dicts whose values stay as well.
    """
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {
            mask(key) if isinstance(key, str) else key: held if key in kept else mask_value(held, kept=kept)
            for key, held in value.items()
        }
    if type(value) in (list, tuple):
        return type(value)(mask_value(held, kept=kept) for held in value)
    return value


def masked(phone: str) -> str:
    """A phone number with all but its last two digits hidden."""
    return f"…{phone[-2:]}"


def _number(found: re.Match[str]) -> str:
    """What stands for a match of `_DIGITS`: itself, or the mask."""
    text, kind = found.group(), found.lastgroup
    if kind == "plus":
        return PHONE
    if kind == "named":
        return _LAST_NUMBER.sub(PHONE, text)
    return PHONE if kind == "bare" and _is_phone(text) else text


def _is_phone(text: str) -> bool:
    """Whether digits without a plus are a phone number: by their count, their groups and how they begin."""
    groups = re.findall(r"\d+", text)
    digits = "".join(groups)
    if len(groups) == 1:
        return _is_bare_phone(digits)
    if len(groups) == 2 and re.fullmatch(r"\d+\.\d+", text):
        return False  # a fraction
    if _NANP.fullmatch(digits) and [len(group) for group in groups][-2:] == [3, 4]:
        return True
    if any(len(group) == 1 for group in groups[1:]) or len(digits) > 14:
        return False  # a row of counts
    return text.startswith("(") or digits.startswith(("0", "1300", "1800")) or _is_bare_phone(digits)


def _is_bare_phone(digits: str) -> bool:
    """Whether a row of digits is a phone number, with or without its country's code; no epoch time, no time stamp."""
    if _NANP.fullmatch(digits):
        return True
    if _STAMP.fullmatch(digits) and len(digits) in (12, 14):
        return False
    if digits.startswith("00"):
        return digits[2] != "0" and 10 <= len(digits) <= 17
    if digits.startswith("0"):
        return 9 <= len(digits) <= 12
    return digits[0] in "23456789" and (10 <= len(digits) <= 13)


class Withheld(Exception):  # noqa: N818 - it stands for the error of a library, whose name it tells
    """Stands for an error whose own words are not repeated, because they might quote a row."""


_QUOTE_NOTHING: Final = (
    OSError,
    ImportError,
    MemoryError,
    NameError,
    AttributeError,
    TypeError,
    RecursionError,
)
"""Errors of Python that speak of names, types, files and the machine, never of what a row holds."""

_OURS: Final = ("include.", "listkeeper.")
_RAISE: Final = dis.opmap["RAISE_VARARGS"]


def quiet(error: BaseException) -> BaseException:
    """
    The error as it may be logged, shown and handed to alerts, with all that it came from.

    Our own and Airflow's stay what they are (a retry hangs on their class), and so do those that speak of names and
    files; their texts are masked. Of any other only its class and its traceback remain: what a parser, a database
    or a validator says of a failed row quotes the row, and a person's name in it has no pattern.
    """
    return _quiet(error, {})


def _quiet(error: BaseException, seen: dict[int, BaseException]) -> BaseException:
    if id(error) in seen:
        return seen[id(error)]
    kind, shown = type(error), error
    if _speaks_safely(error):
        words = tuple(mask(word) if isinstance(word, str) else word for word in error.args)
        if words != error.args:
            error.args = words
    else:
        shown = Withheld(
            f"{kind.__module__}.{kind.__qualname__}; its words are withheld, they might quote a row."
        )
        shown.__traceback__ = error.__traceback__
    seen[id(error)] = shown
    suppressed, cause, context = error.__suppress_context__, error.__cause__, error.__context__
    shown.__cause__ = None if cause is None else _quiet(cause, seen)
    shown.__context__ = None if context is None or suppressed else _quiet(context, seen)
    shown.__suppress_context__ = suppressed
    return shown


def _speaks_safely(error: BaseException) -> bool:
    """Whether the words of an error are ours, Airflow's, or of a kind that quotes no data."""
    if not isinstance(error, Exception) or isinstance(error, _QUOTE_NOTHING):
        return True
    return type(error).__module__.startswith((*_OURS, "airflow.")) or _raised_by_us(error.__traceback__)


def _raised_by_us(traceback: TracebackType | None) -> bool:
    """Whether a `raise` of our own code made the error: `int("Smith")` in our code fails in the same frame."""
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    ours = str(frame.f_globals.get("__name__", "")).startswith(_OURS)
    return ours and frame.f_code.co_code[traceback.tb_lasti] == _RAISE


class Quietly:
    """Context manager: an error that leaves the block is a quiet one."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise the quiet error instead, where it is another one."""
        if error is None:
            return
        shown = quiet(error)
        if shown is error:
            return
        context = shown.__context__
        try:
            raise shown
        except BaseException:
            # `raise` has hung the first error on this one again, with all its words.
            shown.__context__ = context
            raise
