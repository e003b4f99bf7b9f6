"""The sandbox on a free port, clients for its vendors, and a receiver for its webhooks.

Vicidial's tests run twice: on a SQLite file, and on a real MariaDB.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, create_engine, text

from include.sandbox.purecallerid import FIVE9_CAMPAIGN, KEY, RINGCX_CAMPAIGN
from include.sandbox.server import SandboxServer
from include.sandbox.switches import PureCallerIdSwitches, Switches
from include.sandbox.vicidial import KEY as VICIDIAL_KEY
from tests.waiting import STILL, until

FAST = Switches(purecallerid=PureCallerIdSwitches(step_seconds=0.01))


@pytest.fixture(scope="session")
def _server() -> Iterator[SandboxServer]:
    with SandboxServer(switches=FAST) as server:
        yield server


@pytest.fixture
def sandbox(_server: SandboxServer) -> SandboxServer:
    """The sandbox with its real leads, as at the start."""
    _server.reset()
    return _server


@pytest.fixture(scope="session")
def _small_server() -> Iterator[SandboxServer]:
    with SandboxServer(switches=FAST, synthetic=10) as server:
        yield server


@pytest.fixture
def small(_small_server: SandboxServer) -> SandboxServer:
    """The sandbox with ten leads, for tests that are not about leads: it is reset faster."""
    _small_server.reset()
    return _small_server


class PlatformClient:
    """Calls the Platform API as a client would."""

    def __init__(self, server: SandboxServer) -> None:
        info = server.info()["platform"]
        self.prefix = info["prefix"]
        self.http = httpx.Client(
            base_url=server.base_url,
            headers={"Authorization": f"Bearer {info['token']}"},
            trust_env=False,
            verify=False,
        )

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(f"{self.prefix}/v3.0{path}", params=params or None)

    def send(self, method: str, path: str, body: Any = None, **params: Any) -> httpx.Response:
        """Call an operation that writes."""
        sent = {} if body is None else {"json": body}
        return self.http.request(method, f"{self.prefix}/v3.0{path}", params=params or None, **sent)

    def create(self, **fields: Any) -> int:
        """Create a lead, by default in the empty list 300; return its id."""
        answer = self.send("POST", "/leads", {"listId": 300, **fields})
        assert answer.status_code == 201, answer.text
        return int(answer.json()["leadId"])

    def follow(self, uri: str) -> httpx.Response:
        """Follow a URI that the vendor gave (contract section 1)."""
        return self.http.get(uri if uri.startswith(self.prefix) else self.prefix + uri)

    def pages(self, path: str, **params: Any) -> list[dict[str, Any]]:
        pages = [self.get(path, **params).json()]
        while uri := pages[-1]["metadata"]["nextUri"]:
            pages.append(self.follow(uri).json())
        return pages

    def items(self, path: str, **params: Any) -> list[dict[str, Any]]:
        return [item for page in self.pages(path, **params) for item in page["items"]]


@pytest.fixture
def platform(sandbox: SandboxServer) -> Iterator[PlatformClient]:
    client = PlatformClient(sandbox)
    yield client
    client.http.close()


@pytest.fixture
def tenant(small: SandboxServer) -> Iterator[PlatformClient]:
    """A client of a tenant with ten leads, three to a page."""
    small.switch("platform", page_size=3)
    client = PlatformClient(small)
    yield client
    client.http.close()


def as_csv(rows: list[tuple[Any, ...]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


class PureCallerIdClient:
    """Loads lists as a client would, and waits for what becomes of them."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.http = httpx.Client(
            base_url=server.base_url, headers={"X-API-KEY": KEY}, trust_env=False, verify=False
        )

    def request(self, ringcx: bool = False, **changes: Any) -> dict[str, Any]:
        """The `processRequest` of a two-column file; a change to `...` leaves the field out."""
        asked = {
            "mode": "APPEND",
            "dialerListId": "RingCX nightly" if ringcx else "Nightly callers",
            "firstRowHasHeaders": False,
            "mappedCols": [
                {"columnIndex": 0, "columnId": "leadPhone" if ringcx else "number1"},
                {"columnIndex": 1, "columnId": "externId" if ringcx else "state"},
            ],
            **({"dedupe": "RING_RETAIN_ALL"} if ringcx else {}),
            **changes,
        }
        return {name: value for name, value in asked.items() if value is not ...}

    def post(
        self,
        rows: list[tuple[Any, ...]] | bytes,
        ringcx: bool = False,
        parts: dict[str, Any] | None = None,
        **changes: Any,
    ) -> httpx.Response:
        """Post a load; `parts` replaces parts of the body, None leaves one out."""
        body: dict[str, Any] = {
            "campaignId": RINGCX_CAMPAIGN if ringcx else FIVE9_CAMPAIGN,
            "processRequest": json.dumps(self.request(ringcx, **changes)),
            "file": ("leads.csv", rows if isinstance(rows, bytes) else as_csv(rows), "text/csv"),
            **(parts or {}),
        }
        files = {"file": body.pop("file")}
        return self.http.post(
            "/api/public/lists/load",
            data={name: text for name, text in body.items() if text is not None},
            files=files if files["file"] else {"other": b""},
        )

    def finished(self, load_id: str, status: tuple[str, ...] = ("FINALIZED", "ERROR")) -> dict[str, Any]:
        """Wait until a load ends, and return its list object."""

        def look() -> dict[str, Any] | None:
            loads = {load["id"]: load for load in self.server.state("purecallerid", rows=False)["loads"]}
            return loads[load_id] if loads[load_id]["status"] in status else None

        return until(look, f"load {load_id} to be {' or '.join(status)}")

    def load(
        self, rows: list[tuple[Any, ...]] | bytes, ringcx: bool = False, **changes: Any
    ) -> dict[str, Any]:
        """Post a load, wait until it ends, and return its list object."""
        answer = self.post(rows, ringcx, **changes)
        assert answer.status_code == 200, answer.text
        return self.finished(answer.json()["id"])

    def rows(self, name: str = "Nightly callers") -> list[dict[str, str]]:
        return self.server.state("purecallerid")["lists"][name]


@pytest.fixture
def purecallerid(small: SandboxServer) -> Iterator[PureCallerIdClient]:
    small.switch("purecallerid", inactive=[], dnc=[])
    client = PureCallerIdClient(small)
    yield client
    client.http.close()


class VicidialClient:
    """Calls the archive API as a client would, and looks into the tables."""

    def __init__(self, server: SandboxServer, database: Engine) -> None:
        self.server = server
        self.database = database
        self.http = httpx.Client(
            base_url=server.base_url,
            headers={"Authorization": f"Key={VICIDIAL_KEY}"},
            trust_env=False,
            verify=False,
        )

    def post(self, body: Any, path: str = "archive", headers: dict[str, str] | None = None) -> httpx.Response:
        """Post a body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(
            f"/vicidial/leads/{path}",
            content=content,
            headers={"Content-Type": "application/json", **(headers or {})},
        )

    def body(self, flags: str, ids: Any, **changes: Any) -> dict[str, Any]:
        """The body for `TFT` = insert, no update, delete; a change to `...` leaves the field out."""
        names = ("insert_leads", "update_leads", "delete_leads")
        asked = {
            **{name: flag == "T" for name, flag in zip(names, flags, strict=True)},
            "lead_ids": ids,
            **changes,
        }
        return {name: value for name, value in asked.items() if value is not ...}

    def archive(self, flags: str, ids: Iterable[int]) -> tuple[int, int, int, int]:
        """Archive, and return the four counts."""
        answer = self.post(self.body(flags, list(ids)))
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body.pop("message") == "lead_ids batch was successfully processed"
        assert list(body) == ["select_count", "insert_count", "update_count", "delete_count"]
        return tuple(body.values())

    def where(self, *leads: int) -> list[str]:
        """Tell in which tables leads are: `list`, `archive`, `both` or `none`."""
        ids = self.server.state("vicidial")["ids"]
        names = {
            (True, True): "both",
            (True, False): "list",
            (False, True): "archive",
            (False, False): "none",
        }
        return [names[lead in ids["list"], lead in ids["archive"]] for lead in leads]

    def rows(self, sql: str) -> list[Any]:
        """Ask the database itself, past the sandbox."""
        with self.database.connect() as connection:
            return list(connection.execute(text(sql)))

    def at(self, local: str) -> None:
        """Stop the clock at a time in Johannesburg, such as `2026-11-23T10:00:00`."""
        self.server.clock(datetime.fromisoformat(f"{local}+02:00"), speed=STILL)


@pytest.fixture(scope="session", params=["sqlite", "mariadb"])
def _vicidial_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SandboxServer, Engine]]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('vicidial')}/vicidial.db"
    else:
        url = request.getfixturevalue("make_mariadb")()
    database = create_engine(url)
    with SandboxServer(switches=FAST, synthetic=10, vicidial_db=url) as server:
        yield server, database
    database.dispose()


@pytest.fixture
def vicidial(_vicidial_server: tuple[SandboxServer, Engine]) -> Iterator[VicidialClient]:
    """Leads 1 to 600, archive empty, Saturday 20:00: the state of the contract's cases."""
    server, database = _vicidial_server
    server.reset()
    client = VicidialClient(server, database)
    client.at("2026-11-21T20:00:00")
    yield client
    client.http.close()


class Receiver:
    """Takes webhooks and remembers them."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, str], bytes]] = []
        self.calls: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.garbage: list[bytes] = []
        self.status = 200
        self._open = threading.Event()
        self._open.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.bodies.append((self.path, headers, content))
                try:
                    receiver.calls.append((self.path, headers, json.loads(content)))
                except ValueError:
                    receiver.garbage.append(content)
                receiver._open.wait()
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callbacks/real-token"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def wait(self, enough: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the statuses received are enough, and return them."""
        until(lambda: enough(self.statuses), "enough webhooks")
        return self.statuses

    def hold(self) -> None:
        """Answer nobody until `release`: what comes after the webhook that is held waits for its answer."""
        self._open.clear()

    def release(self) -> None:
        """Answer whoever waits."""
        self._open.set()

    @property
    def statuses(self) -> list[str]:
        return [body["status"] for _, _, body in self.calls]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.release()
    receiver.server.shutdown()
    receiver.server.server_close()
