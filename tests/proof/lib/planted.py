"""Leads that nobody can mistake, a vendor that repeats all it hears, and the search for any of it where none may be."""

from __future__ import annotations

import base64
import csv
import http.client
import itertools
import json
import re
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

FIRST, LAST, STREET, DOMAIN = "Xanthippe", "Quillfeather", "Marzipan Crescent", "quillfeather.example"
HEADER_KEY = "gateway-9d41f0b7c2e85a36"
"""Of the extra `headers` of a connection: a secret whose name says nothing."""


def phone(number: int) -> str:
    """A number of the range 201-200, which every planted number is of."""
    return f"201200{number:04d}"


def write_leads(path: Path, count: int) -> None:
    """A list of leads as people keep it; some are malformed, in ways that make a parser speak of them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["key", "phone", "mobile", "first name", "last name", "name", "e-mail", "street", "state", "zip"]
        )
        for number in range(count):
            bare, last = phone(number), f"{LAST}-{number:04d}"
            spelled = (
                bare,
                f"+1{bare}",
                f"({bare[:3]}) {bare[3:6]}-{bare[6:]}",
                f" {bare[:3]}.{bare[3:6]}.{bare[6:]}",
            )
            row = [
                f"K-{number:05d}", spelled[number % 4], "", FIRST, last, f"{FIRST} {last}",
                f"{FIRST.lower()}.{number}@{DOMAIN}", f"{number} {STREET}", ("NJ", "NY", "CA")[number % 3],
                f"{number:05d}",
            ]  # fmt: skip
            if number % 10 == 3:
                row[1] = f"call {FIRST} on {bare} after six"
            if number % 10 == 5:
                row[0] = f"{FIRST.lower()}.{number}@{DOMAIN}"
            if number % 10 == 7:
                row[2], row[9] = f"{LAST} {bare}", f'"{FIRST}", {{"x": "{bare}"}}\x0b'
            rows.writerow(row)


class Needles:
    """What may be found nowhere: the planted people in any spelling, and these secrets, plain or encoded."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        words = [FIRST, LAST, STREET, DOMAIN]
        plain = {form for word in words for form in (word, quote(word), STREET.replace(" ", "+"))}
        coded = {form for word in (*words, "201200") for form in _inside_base64(word)}
        parts = [r"201[^0-9A-Za-z]{0,3}200[^0-9A-Za-z]?\d{4}", r"X-Amz-(?:Signature|Security-Token)=[^.*<]"]
        parts += [f"(?i:{re.escape(form)})" for form in sorted(plain)] + [
            re.escape(form) for form in sorted(coded)
        ]
        for secret in secrets:
            encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
            parts += [re.escape(form) for form in sorted({secret, quote(secret, safe=""), encoded})]
        self.pattern = re.compile("|".join(parts).encode())

    def find(self, text: bytes) -> list[bytes]:
        """Each find, with what stands around it."""
        return [text[max(0, at.start() - 80) : at.end() + 40] for at in self.pattern.finditer(text)]


def _inside_base64(word: str) -> set[str]:
    """How a word shows inside the base64 of a longer text, at each of its three places."""
    forms = set()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + word.encode() + b"\0\0").decode()
        forms.add(whole[(0, 2, 3)[shift] : (len(word) + shift) * 4 // 3])
    return forms


@dataclass
class Surface:
    """One place that was searched."""

    name: str
    size: int = 0
    finds: list[tuple[str, bytes]] = field(default_factory=list)


class Search:
    """Searches places and keeps the count."""

    def __init__(self, needles: Needles) -> None:
        self.needles = needles
        self.surfaces: dict[str, Surface] = {}

    def text(self, surface: str, where: str, content: bytes) -> None:
        """Search one text."""
        found = self.surfaces.setdefault(surface, Surface(surface))
        found.size += len(content)
        found.finds += [(where, around) for around in self.needles.find(content)]

    def files(self, surface: str, folder: Path, *patterns: str) -> None:
        """Search files, byte by byte."""
        self.surfaces.setdefault(surface, Surface(surface))
        for pattern in patterns:
            for file in sorted(folder.rglob(pattern)):
                if file.is_file():
                    self.text(surface, str(file.relative_to(folder)), file.read_bytes())

    def database(self, surface: str, file: Path, *, apart: dict[str, str] | None = None) -> None:
        """
        Search every column of every table of an SQLite database.

        :param apart: tables that get a line of their own in the result: table -> its name there.
        """
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as opened:
            opened.text_factory = bytes
            tables = [
                name.decode()
                for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            for table in sorted(tables):
                named = (apart or {}).get(table, surface)
                self.surfaces.setdefault(named, Surface(named))
                for row in opened.execute(f'SELECT * FROM "{table}"'):
                    cells = (
                        cell if isinstance(cell, bytes) else str(cell).encode()
                        for cell in row
                        if cell is not None
                    )
                    self.text(named, table, b"\x1f".join(cells))

    @property
    def finds(self) -> int:
        """How much was found."""
        return sum(len(surface.finds) for surface in self.surfaces.values())

    def table(self) -> str:
        """Surface, bytes looked at, finds; and the first finds of each."""
        width = max(len(name) for name in self.surfaces)
        lines = [f"{'surface':<{width}}  {'bytes':>12}  finds", f"{'-' * width}  {'-' * 12}  -----"]
        lines += [f"{s.name:<{width}}  {s.size:>12,}  {len(s.finds):>5}" for s in self.surfaces.values()]
        for surface in self.surfaces.values():
            for where, around in surface.finds[:5]:
                lines.append(f"  {surface.name}, {where}: {around!r}")
        return "\n".join(lines)


class Parrot:
    """
    Stands before the sandbox. Where it is told to, it repeats what it hears in the answer, as bad servers do.

    The ways take turns: the request under 400, under 422, under 500 and under 200; what the sandbox would have
    answered under 400, cut in half, and with each number in it made a text.
    """

    WAYS = ("400", "422", "500", "200", "answer as 400", "cut", "texts")

    def __init__(self, sandbox: str) -> None:
        self.sandbox = urlsplit(sandbox)
        self.bad: tuple[str, ...] = ()
        """Beginnings of paths that get such answers."""
        self.said = 0
        self._ways = itertools.cycle(self.WAYS)
        parrot = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{method}", lambda request: parrot.answer(request))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Hand the request on, or repeat it."""
        body = self._body(request)
        way = next(self._ways) if request.path.startswith(self.bad or ("\0",)) else None
        if way is None or not way.isdigit():
            status, headers, told = self._asked(request, body)
        if way is not None:
            self.said += 1
            if way.isdigit():
                heard = f"{request.requestline}\n{request.headers}\n".encode() + body
                status, headers = int(way), {"Content-Type": "application/json"}
                told = json.dumps(
                    {"error": heard.decode("latin-1"), "message": body.decode("latin-1")[:2000]}
                ).encode()
            elif way == "answer as 400":
                status = 400
            elif way == "cut":
                told = told[: len(told) // 2]
            else:
                told = re.sub(rb":\s*(-?\d+)", rb': "' + FIRST.encode() + rb' \1"', told)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(told)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(told)

    @staticmethod
    def _body(request: BaseHTTPRequestHandler) -> bytes:
        if request.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(request.rfile.readline().split(b";")[0], 16):
                parts.append(request.rfile.read(size))
                request.rfile.readline()
            request.rfile.readline()
            return b"".join(parts)
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))

    def _asked(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        handed = http.client.HTTPConnection(str(self.sandbox.hostname), self.sandbox.port, timeout=120)
        with closing(handed):
            names = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
            if not body and "Content-Length" in request.headers:
                names["Content-Length"] = "0"  # a header that iSales signs
            handed.request(request.command, request.path, body=body or None, headers=names)
            answer = handed.getresponse()
            told = answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return answer.status, kept, told


_HOP = frozenset({"transfer-encoding", "content-length", "connection", "keep-alive", "expect"})
