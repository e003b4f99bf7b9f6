"""The REST client against a small HTTP server that answers as it is told."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from include.stack import airflow_client
from include.stack.airflow_client import Airflow, AirflowError

LOCKED = (500, {"detail": {"reason": "Database error"}})
MADE = (200, {"dag_run_id": "r1"})


class Server(ThreadingHTTPServer):
    """Gives one scripted answer after the other, the last one for ever; logging in always works."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict]] = []
        self.calls: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, body = 201, {"access_token": "t"}
        if self.path != "/auth/token":
            self.server.calls.append(self.path)
            status, body = self.server.answers[min(len(self.server.calls), len(self.server.answers)) - 1]
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(airflow_client.time, "sleep", lambda seconds: None)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def airflow(server: Server) -> Iterator[Airflow]:
    with Airflow(f"http://127.0.0.1:{server.server_port}", "ana", "ana") as airflow:
        yield airflow


def test_a_locked_database_is_asked_again(server: Server, airflow: Airflow) -> None:
    server.answers = [LOCKED, LOCKED, MADE]
    assert airflow.trigger("a_dag") == "r1"
    assert server.calls == ["/api/v2/dags/a_dag/dagRuns"] * 3


def test_a_database_that_stays_locked_is_told(server: Server, airflow: Airflow) -> None:
    server.answers = [LOCKED]
    with pytest.raises(AirflowError, match=r"POST /api/v2/dags/a_dag/dagRuns answered 500: .*Database error"):
        airflow.trigger("a_dag")
    assert len(server.calls) == 1 + airflow_client.LOCKED_TRIES


def test_any_other_error_is_told_at_once(server: Server, airflow: Airflow) -> None:
    server.answers = [(500, {"detail": "Internal Server Error"}), MADE]
    with pytest.raises(AirflowError, match="answered 500: Internal Server Error"):
        airflow.trigger("a_dag")
    assert len(server.calls) == 1


def test_an_expired_login_is_renewed(server: Server, airflow: Airflow) -> None:
    server.answers = [(401, {"detail": "expired"}), MADE]
    assert airflow.trigger("a_dag") == "r1"
    assert len(server.calls) == 2
