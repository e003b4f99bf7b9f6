"""A server that reads an upload as fast as it comes, keeps nothing, and answers as PureCallerID does.

`python sink.py` prints its address. An upload that does not say how long it is gets 411.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = json.dumps({"id": "6b013e06965ae13389a34546", "status": "UPLOADED", "metrics": {}}).encode()
buffer = memoryview(bytearray(1 << 20))


class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        left = int(self.headers.get("Content-Length", 0))
        if not left:
            self.send_error(411)
            return
        while left:
            left -= self.rfile.readinto(buffer[: min(left, len(buffer))])
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
