"""A server that answers at once with what the sandbox answered before: the time measured is the client's alone.

`python replay.py SANDBOX_URL DELAY_MS` prints its address. The first time an address is asked for the sandbox is
asked in turn; every page then takes the delay and nothing else.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SANDBOX, DELAY = sys.argv[1], float(sys.argv[2]) / 1000
known: dict[str, bytes] = {}


class Replay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path not in known:
            asked = urllib.request.Request(
                SANDBOX + self.path, headers={"Authorization": self.headers["Authorization"]}
            )
            with urllib.request.urlopen(asked) as answer:
                known[self.path] = answer.read()
        time.sleep(DELAY)
        body = known[self.path]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Replay)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
