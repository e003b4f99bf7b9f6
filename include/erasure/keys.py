"""What is made from the installation's erasure key: hashes that know a customer again, and the seal of a request.

The key is the password of the connection `listkeeper_erasure`. Whoever lacks it can neither read a request nor find out
by trying numbers who was erased; whoever loses it can know nobody again, so the clean step stops then.
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass, field
from typing import Any, Final

SHORTEST_KEY: Final = 16


class ErasureKeyError(ValueError):
    """The erasure key is missing, too short, or not the one that was used; the message says what to do."""


@dataclass(frozen=True)
class ErasureKey:
    """The installation's key. :param secret: the password of the connection."""

    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < SHORTEST_KEY:
            raise ErasureKeyError(
                f"The erasure key is too short: put at least {SHORTEST_KEY} random characters into the password of the "
                "connection listkeeper_erasure, and keep a copy of them in a safe place."
            )

    def hash(self, kind: str, value: str) -> str:
        """Keyed hash of a number (E.164) or an address, as hex; `kind` keeps the two apart."""
        return hmac.digest(self.derived("hash"), f"{kind}:{value}".encode(), "sha256").hex()

    @property
    def check(self) -> str:
        """Tells whether two keys are the same, and nothing else of them."""
        return self.hash("check", "")[:16]

    def seal(self, content: dict[str, Any]) -> bytes:
        """Encrypt something, so that only this key opens it."""
        sealed: bytes = self._fernet().encrypt(json.dumps(content).encode())
        return sealed

    def open(self, sealed: bytes) -> dict[str, Any]:
        """Decrypt what `seal` made. Raises ErasureKeyError for another key's, and for what was changed."""
        from cryptography.fernet import InvalidToken

        try:
            content: dict[str, Any] = json.loads(self._fernet().decrypt(sealed))
        except InvalidToken:
            raise ErasureKeyError(
                "The request was sealed with another erasure key, or changed. Ask for the erasure again."
            ) from None
        return content

    def derived(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose: whoever has it learns nothing of the secret or of the other keys."""
        derived: bytes = hmac.digest(self.secret.encode(), f"listkeeper erasure {purpose}".encode(), "sha256")
        return derived

    def _fernet(self) -> Any:
        from cryptography.fernet import Fernet

        return Fernet(base64.urlsafe_b64encode(self.derived("seal")))
