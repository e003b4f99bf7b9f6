"""A line with a delay: forwards bytes both ways, each piece half a round trip later, however many are under way.

`python delay.py PORT RTT_MS` prints its own port.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

PORT, HALF = int(sys.argv[1]), float(sys.argv[2]) / 2000
PIECE = 256 * 1024


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read at once, write when a piece's time has come."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await under_way.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    while piece := await reader.read(PIECE):
        under_way.put_nowait((loop.time() + HALF, piece))
    under_way.put_nowait((loop.time() + HALF, b""))
    await delivering


async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, and its other half."""
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", PORT)
    with contextlib.suppress(ConnectionError):
        await asyncio.gather(forward(reader, far_writer), forward(far_reader, writer))


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
