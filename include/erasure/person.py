"""Whom an erasure is about: a phone number, an e-mail address or both, and how they are found in text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from include.masking import masked

GAP: Final = r"[ ().\-/]*"
"""What people write between the digits of a number."""

_EMAIL: Final = re.compile(r"[^@\s\"<>,;]+@[^@\s\"<>,;]+\.[^@\s\"<>,;.]+")


class PersonError(ValueError):
    """What was given names nobody; the message says what to give, never what was given."""


@dataclass(frozen=True)
class Person:
    """A customer. :param phone: E.164, such as +14155550123; :param email: in small letters."""

    phone: str | None = field(repr=False)
    email: str | None = field(repr=False)

    @classmethod
    def of(cls, phone: str | None, email: str | None) -> Person:
        """Read what an analyst typed. Raises PersonError with neither, and for what is no number or address."""
        import phonenumbers

        phone, email = (phone or "").strip() or None, (email or "").strip().lower() or None
        if phone is None and email is None:
            raise PersonError("Give a phone number or an e-mail address, or both.")
        if phone is not None:
            try:
                number = phonenumbers.parse(phone)
            except phonenumbers.NumberParseException:
                number = None
            if number is None or not phonenumbers.is_possible_number(number):
                raise PersonError(
                    "The phone number is none: write it with its country code, such as +14155550123."
                )
            phone = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if email is not None and not _EMAIL.fullmatch(email):
            raise PersonError("The e-mail address is none: write it as name@example.com.")
        return cls(phone, email)

    @property
    def masked(self) -> str:
        """What may be shown to tell one request from another."""
        shown = [] if self.phone is None else [f"a number that ends in {masked(self.phone)}"]
        return " and ".join([*shown, *([] if self.email is None else ["an e-mail address"])])

    @cached_property
    def pattern(self) -> str:
        """Regular expression (of Python and of polars alike) of every spelling of the number and the address."""
        either = []
        if self.phone is not None:
            import phonenumbers

            number = phonenumbers.parse(self.phone)
            national = phonenumbers.national_significant_number(number)
            code = GAP.join(str(number.country_code))
            before = rf"(?:(?:(?:00|011){GAP})?{code}{GAP})?(?:0{GAP})?"
            either.append(rf"(?:^|[^0-9]){before}{GAP.join(national)}(?:[^0-9]|$)")
        if self.email is not None:
            either.append(rf"(?:^|[^a-z0-9._%+-]){re.escape(self.email)}(?:\.?(?:[^a-z0-9.-]|$))")
        return f"(?i)(?:{'|'.join(either)})"

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern)

    def in_text(self, text: str) -> bool:
        """Whether a text names this customer."""
        return self._compiled.search(text) is not None

    def numbers(self) -> list[int]:
        """The number as whole numbers: with its country code, and without."""
        if self.phone is None:
            return []
        import phonenumbers

        number = phonenumbers.parse(self.phone)
        return [int(self.phone[1:]), int(phonenumbers.national_significant_number(number))]
