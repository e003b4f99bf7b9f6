"""What the hooks of all HTTP vendors share: one session from the http provider's hook, and honest errors.

The connection's proxies, TLS and timeouts are those of the http provider. Its habit of sending unknown extras as
headers is undone: every extra is read by name, and an unknown one is an error that says which are known.
"""

from __future__ import annotations

import logging
import re
import ssl
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import requests
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import Connection
from airflow.sdk.log import mask_secret
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema
from requests_toolbelt.adapters.socket_options import TCPKeepAliveAdapter
from urllib3.exceptions import NewConnectionError

from include.vendors.errors import (
    AuthenticationError,
    LostAnswerError,
    UnavailableError,
    UnexpectedAnswerError,
    VendorError,
)

HTTP_EXTRAS = ("verify", "cert", "proxies", "timeout", "trust_env", "headers")
"""Extras of every vendor connection; `verify` is true, false or the path of a CA file."""

DEFAULT_TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and to wait for the next byte of an answer."""

SEND_BYTES = 256 * 1024
"""How much of a body is sent at once. With urllib3's 16 KiB a streamed upload takes three times as long."""


class UploadAdapter(TCPKeepAliveAdapter):  # type: ignore[misc]
    """The http provider's own adapter (connections are kept alive), sending larger blocks."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.connection_pool_kw["blocksize"] = SEND_BYTES


class NoQueries(logging.Filter):
    """Takes the query off every URL that urllib3 logs (it may hold a customer key), and the path of a signed one."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                re.sub(r"\?\S*", "?...", re.sub(r"\S*\?\S*[Ss]ignature=\S*", "/...", a))
                if isinstance(a, str)
                else a
                for a in record.args
            )
        return True


for _name in ("urllib3.connection", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(NoQueries())


@dataclass(frozen=True)
class Answer:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class VendorHook(HttpHook):
    """
    Base of the vendor hooks.

    A subclass names its vendor, its default host and its own extras, and turns the connection into headers.

    :param conn_id: the Airflow connection to use.
    """

    vendor: ClassVar[str]
    own_extras: ClassVar[tuple[str, ...]] = ()

    def __init__(self, conn_id: str) -> None:
        super().__init__(http_conn_id=conn_id, adapter=UploadAdapter(idle=120, count=20, interval=30))
        self._session: requests.Session | None = None

    def use(self, connection: Connection) -> None:
        """Take this connection: in a trigger's thread none may be looked up."""
        self.__dict__["get_connection"] = lambda _conn_id: connection

    def auth_headers(self, connection: Connection) -> dict[str, str]:
        """Headers that authenticate a request; the secret is the connection's password."""
        raise NotImplementedError

    def extras(self, connection: Connection) -> dict[str, Any]:
        """Extras of the connection that are set. Raises ValueError for one that nobody knows."""
        found = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
        unknown = sorted(set(found) - {*self.own_extras, *HTTP_EXTRAS})
        if unknown:
            raise ValueError(
                f"Connection {self.http_conn_id}: unknown extra {', '.join(unknown)}; known are "
                f"{', '.join(sorted([*self.own_extras, *HTTP_EXTRAS]))}."
            )
        return found

    def _configure_session_from_auth(
        self, session: requests.Session, connection: Connection
    ) -> requests.Session:
        if not connection.password:
            raise AuthenticationError(
                self.vendor, f"Connection {self.http_conn_id} holds no key: put it into the password field."
            )
        mask_secret(connection.password)
        if (
            not (connection.password.isascii() and connection.password.isprintable())
            or " " in connection.password
        ):
            raise AuthenticationError(
                self.vendor,
                f"Connection {self.http_conn_id} holds no usable key: there is a blank, a line break or a letter in it "
                "that no key has. Copy it into the password field again.",
            )
        session.headers.update(self.auth_headers(connection))
        # Without this, requests would read ~/.netrc and could replace the header.
        session.auth = lambda request: request
        # requests looks at a redirect's address even where it does not follow it, and fails over one that is none.
        session.__dict__["get_redirect_target"] = lambda _: None
        return session

    def _configure_session_from_extra(
        self, session: requests.Session, connection: Connection, extra_options: dict[str, Any]
    ) -> requests.Session:
        extras = self.extras(connection)
        session.proxies = self._object(extras, "proxies")
        session.verify = self._verify(extras.get("verify", True))
        session.cert = extras.get("cert")
        session.trust_env = str(extras.get("trust_env", True)).lower() == "true"
        headers = {str(k): str(v) for k, v in self._object(extras, "headers").items()}
        # Airflow's masker goes by names; a header of a gateway may be called anything.
        mask_secret(list(headers.values()))
        session.headers.update(headers)
        self._timeout = self._seconds(extras["timeout"]) if "timeout" in extras else DEFAULT_TIMEOUT
        return session

    def _object(self, extras: Mapping[str, Any], name: str) -> dict[str, Any]:
        value = extras.get(name, {})
        if not isinstance(value, dict):
            raise ValueError(f"Connection {self.http_conn_id}: the extra {name} must be an object.")
        return value

    def _verify(self, value: Any) -> bool | str:
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if not Path(str(value)).exists():
            raise ValueError(
                f"Connection {self.http_conn_id}: the extra verify must be true, false or the path of a CA file; "
                "there is no such file here."
            )
        return str(value)

    def _seconds(self, value: Any) -> float:
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ValueError(
                f"Connection {self.http_conn_id}: the extra timeout must be a number of seconds."
            )
        return seconds

    def _set_base_url(self, connection: Connection) -> None:
        if not (connection.host or self.default_host):
            raise ValueError(
                f"Connection {self.http_conn_id} names no host: write the vendor's base URL into it."
            )
        super()._set_base_url(connection)
        if "://" not in (connection.host or self.default_host) and not connection.schema:
            # A host alone means https: a key must not travel in the clear because a prefix was forgotten.
            self.base_url = self.base_url.replace("http://", "https://", 1)

    _timeout: Any = DEFAULT_TIMEOUT

    def session(self) -> requests.Session:
        """The one session of this hook, opened at first use and kept."""
        if self._session is None:
            self._session = self.get_conn()
        return self._session

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def send(
        self, method: str, url: str, *, operation: str, most_bytes: int | None = None, **kwargs: Any
    ) -> Answer:
        """
        Send one request and read its answer whole; redirects are not followed, they would drop a body or leak a key.

        Raises UnavailableError when the request provably never left, LostAnswerError when it may have been carried
        out. The errors name the operation, never the URL: it may hold a customer key or a token.

        :param operation: what the request is for, in words for the error message.
        :param most_bytes: the largest body that is read; UnexpectedAnswerError for a larger one.
        """
        session = self.session()
        try:
            response = session.request(
                method,
                url,
                timeout=self._timeout,
                allow_redirects=False,
                # Said again: by themselves a session's settings yield to REQUESTS_CA_BUNDLE and HTTPS_PROXY.
                verify=session.verify,
                proxies=dict(session.proxies),
                stream=most_bytes is not None,
                **kwargs,
            )
            body = response.content if most_bytes is None else self._read(response, most_bytes)
        except requests.exceptions.ConnectTimeout:
            raise self._never_left(operation, "no connection in time") from None
        except requests.exceptions.SSLError as error:
            cause = _tls_cause(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise self._never_left(
                    operation,
                    "its certificate is not trusted; give a CA file in the connection's extra `verify`",
                ) from None
            if cause is not None and _in_handshake(cause):
                raise self._never_left(
                    operation, "its address does not speak TLS as we do; is it https?"
                ) from None
            raise self._lost(operation, "the encrypted connection broke") from None
        except (InvalidHeader, InvalidSchema, InvalidURL, MissingSchema) as error:
            if isinstance(error, InvalidHeader) and error.request is not None:
                raise self._lost(operation, "its length is told in two ways") from None
            raise self._never_left(operation, "the connection's host or headers are not valid") from None
        except requests.exceptions.ProxyError:
            raise self._never_left(operation, "the proxy cannot be used") from None
        except requests.exceptions.ConnectionError as error:
            reason = getattr(error.args[0], "reason", None) if error.args else None
            if isinstance(reason, NewConnectionError):
                raise self._never_left(operation, "nothing listens at its address") from None
            raise self._lost(operation, "the connection broke") from None
        except requests.exceptions.Timeout:
            raise self._lost(operation, "no answer came in time") from None
        except requests.exceptions.RequestException as error:
            raise self._lost(operation, type(error).__name__) from None
        return Answer(response.status_code, response.headers, body)

    def _read(self, response: requests.Response, most_bytes: int) -> bytes:
        """Read a body in pieces, up to a limit."""
        body = bytearray()
        with response:
            for piece in response.iter_content(64 * 1024):
                body += piece
                if len(body) > most_bytes:
                    raise UnexpectedAnswerError(
                        self.vendor, f"What {self.hook_name} sent is larger than {most_bytes} bytes."
                    )
        return bytes(body)

    def _never_left(self, operation: str, why: str) -> VendorError:
        return UnavailableError(
            self.vendor, f"{self.hook_name} cannot be reached for the {operation}: {why}."
        )

    def _lost(self, operation: str, why: str) -> VendorError:
        return LostAnswerError(
            self.vendor, f"The answer of {self.hook_name} to the {operation} is lost: {why}."
        )


def _tls_cause(error: BaseException) -> ssl.SSLError | None:
    """The error of the TLS library inside an error of requests, which wraps it in several layers."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLError):
        inner = [getattr(found, "reason", None), *found.args]
        found = next((e for e in inner if isinstance(e, BaseException)), None)
    return found


def _in_handshake(error: ssl.SSLError) -> bool:
    """Whether a TLS error came before the request: by where it was raised, its words are the same later on."""
    return any(frame.name == "do_handshake" for frame in traceback.extract_tb(error.__traceback__))
