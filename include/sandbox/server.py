"""Serves the sandbox: in a thread for tests (`SandboxServer`), or in the foreground for people."""

from __future__ import annotations

import socket
import threading
import time
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx
import uvicorn

from include.sandbox.app import Sandbox
from include.sandbox.book import AnyLeads
from include.sandbox.data import file_leads, ftc_leads
from include.sandbox.gate import ClosableProtocol
from include.sandbox.sftp import SftpServer
from include.sandbox.switches import Switches
from include.sandbox.synthetic import SyntheticLeads
from include.sandbox.vicidial_db import IN_MEMORY, VicidialDatabase
from include.sandbox.vicidial_leads import FEWEST

SEED: Final = 20211107
START_SECONDS: Final = 60.0


class PortTakenError(Exception):
    """The port is in use; the message says how to choose another."""


class SandboxServer:
    """The sandbox on a port of its own (0: a free one).

    As a context manager it serves in a thread, and answers when the block begins. Methods are the controls.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        leads: Path | None = None,
        synthetic: int | None = None,
        seed: int = SEED,
        switches: Switches | None = None,
        vicidial_db: str = IN_MEMORY,
        vicidial_leads: int = FEWEST,
        sftp_port: int = 0,
    ) -> None:
        def make_leads(today: date) -> AnyLeads:
            if synthetic is not None:
                return SyntheticLeads(synthetic, today)
            return ftc_leads(today, seed) if leads is None else file_leads(leads, today)

        self._socket = _listen(host, port, "--port")
        self.sftp = SftpServer(_listen(host, sftp_port, "--sftp-port"))
        self._database = VicidialDatabase(vicidial_db)
        self.sandbox = Sandbox(make_leads, switches or Switches(), self._database, vicidial_leads, self.sftp)
        self.base_url = f"http://{host}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self.sandbox,
            http=ClosableProtocol,
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=60,
        )
        self._server = uvicorn.Server(config)

    def serve(self) -> None:
        """Serve until interrupted."""
        with self.sftp:
            self._server.run(sockets=[self._socket])

    def __enter__(self) -> SandboxServer:
        self._thread = threading.Thread(target=self.serve, name="sandbox", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise TimeoutError("The sandbox did not start.")
            time.sleep(0.005)
        self._client = httpx.Client(base_url=self.base_url, timeout=60, trust_env=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self._database.close()

    # --- controls

    def info(self) -> dict[str, Any]:
        """Return addresses, fake keys and what the data is."""
        return dict(self._control("GET", ""))

    def reset(self) -> None:
        """Put everything back to its start."""
        self._control("POST", "/reset")

    def clock(self, now: datetime | None, *, speed: float = 1) -> None:
        """Let the sandbox's clock run on from `now` (`None` is real time), `speed` times as fast as real time."""
        self._control("POST", "/clock", {"now": now and now.isoformat(), "speed": speed})

    def now(self) -> datetime:
        """Return the time on the sandbox's clock, aware."""
        return datetime.fromisoformat(self._control("GET", "/clock")["now"])

    def fault(self, vendor: str, fault: str, **rule: Any) -> None:
        """Set one more fault rule."""
        self._control("POST", "/faults", {"vendor": vendor, "fault": fault, **rule})

    def switch(self, vendor: str, **changes: Any) -> None:
        """Change switches of a vendor."""
        self._control("POST", "/switches", {vendor: changes})

    def edit(self, lead_id: int, **values: Any) -> None:
        """Edit a lead of `vicidial_list` as an agent would."""
        self._control("POST", "/vicidial/edit", {"lead_id": lead_id, **values})

    def state(self, vendor: str, *, rows: bool = True) -> dict[str, Any]:
        """Return what a vendor holds and what was called."""
        return dict(self._control("GET", f"/state/{vendor}?rows={str(rows).lower()}"))

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(method, f"/_sandbox{path}", json=body)
        if answer.is_error:
            raise ValueError(answer.json()["error"])
        return answer.json()


def _listen(host: str, port: int, option: str) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise PortTakenError(
            f"Port {port} on {host} cannot be used ({error.strerror}). Choose another with {option}."
        ) from error
