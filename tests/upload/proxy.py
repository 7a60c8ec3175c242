"""A proxy between an upload and a real server, which does to chosen requests what networks and servers do at times."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.upload.servers import Server

PIECE = 1 << 16
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_HOP = re.compile(rb"\r\n(?:connection|expect):[^\r]*", re.IGNORECASE)
_TAG = re.compile(rb'(\r\netag: *"?)[0-9a-f-]+("?\r\n)', re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect: *100", re.IGNORECASE)


@dataclass
class Fault:
    """What to do to requests that match."""

    match: str
    """A pattern, searched in `METHOD /path?query`."""
    do: str
    """`status` answers `amount` with `body`; `refuse` does so at sight of the head, reads on no byte and closes; `reset` cuts both ways after `amount` bytes of the request's body, `cut_answer`
    the answer after `amount` bytes; `lose_answer` lets the server do it and cuts before a byte of the answer; `flip` changes
    the byte at `amount`; `stall` takes nothing after `amount` bytes, and says nothing; `delay` gives the answer after `amount` milliseconds; `retag` puts
    another tag into it; `slow` lets `amount` bytes a second through."""
    amount: int = 0
    times: int = 1
    """How often; -1 is always."""
    skip: int = 0
    """How many that match pass unharmed before."""
    unless: bytes = b"\0"
    """What requests have in their heads that pass unharmed."""
    pause: float = 0.0
    """Seconds before an answer of the proxy's own."""
    body: bytes = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
    headers: tuple[str, ...] = ()
    done: int = 0


@dataclass
class Passed:
    """A request as it went through."""

    line: str
    fault: str
    length: int
    sent: int = 0
    """Bytes of its body that reached the server."""
    status: int = 0
    """What the server answered."""
    head: bytes = b""
    """The request's line and headers."""


@dataclass
class Proxy:
    """The proxy; `faults` may be changed at any time."""

    upstream: tuple[str, int]
    faults: list[Fault] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    port: int = 0
    ended: asyncio.Event | None = None
    tasks: set[asyncio.Task[object] | None] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def body_bytes(self, match: str = "^PUT ") -> int:
        """Bytes of the bodies of matching requests that reached the server."""
        return sum(passed.sent for passed in self.passed if re.search(match, passed.line))

    def told(self) -> str:
        """What went through, for whoever wonders."""
        return "\n".join(
            f"{passed.line} {passed.sent} of {passed.length}: {passed.fault}, {passed.status}" for passed in self.passed
        )

    def count(self, match: str) -> int:
        return sum(bool(re.search(match, passed.line)) for passed in self.passed)

    def _fault_for(self, line: str, head: bytes) -> Fault:
        for fault in self.faults:
            if fault.times and re.search(fault.match, line) and fault.unless not in head:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                fault.done += 1
                return fault
        return Fault("", "pass")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Nothing else holds on to a task that waits on a connection which was reset.
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._handle(reader, writer)
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        fault = self._fault_for(f"{method} {path}", head)
        found = _LENGTH.search(head)
        passed = Passed(f"{method} {path}", fault.do, int(found[1]) if found else 0, head=head)
        self.passed.append(passed)
        if _EXPECTS.search(head):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault.do in ("status", "refuse"):
            await self._answer(reader, writer, fault, passed)
            return
        server, to_server = await asyncio.open_connection(*self.upstream)
        try:
            to_server.write(_HOP.sub(b"", head[:-4]) + b"\r\nConnection: close\r\n\r\n")
            if await self._pass_body(reader, to_server, fault, passed):
                await self._pass_answer(server, writer, fault, passed)
            else:
                _reset(to_server)
                _reset(writer)
        finally:
            to_server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, passed: Passed) -> None:
        if fault.do == "status":
            await reader.readexactly(passed.length)
        await asyncio.sleep(fault.pause)
        passed.status = fault.amount
        lines = [
            f"HTTP/1.1 {fault.amount} Said by the proxy",
            f"Content-Length: {len(fault.body)}",
            "Connection: close",
            *fault.headers,
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + fault.body)
        await writer.drain()
        if fault.do == "refuse":
            # What was not read makes the kernel reset the connection.
            writer.transport.abort()

    async def _pass_body(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, fault: Fault, passed: Passed
    ) -> bool:
        got = 0
        if fault.do == "reset" and not fault.amount:
            return False
        while got < passed.length:
            if fault.do == "stall" and got >= fault.amount:
                assert self.ended is not None
                # Who lost the connection's state says nothing to either side; a server gives up on what is half there.
                _reset(to_server)
                await self.ended.wait()
                return False
            piece = await reader.read(min(PIECE if fault.do != "slow" else 4096, passed.length - got))
            if not piece:
                return False
            if fault.do == "flip" and got <= fault.amount < got + len(piece):
                at = fault.amount - got
                piece = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
            if fault.do == "reset" and got + len(piece) >= fault.amount:
                to_server.write(piece[: fault.amount - got])
                return False
            if fault.do == "slow":
                await asyncio.sleep(len(piece) / fault.amount)
            got += len(piece)
            to_server.write(piece)
            await to_server.drain()
            passed.sent = got
        return True

    async def _pass_answer(
        self, server: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, passed: Passed
    ) -> None:
        said = 0
        while piece := await server.read(PIECE):
            if not passed.status and piece.startswith(b"HTTP/1."):
                passed.status = int(piece[9:12])
                if fault.do == "delay":
                    await asyncio.sleep(fault.amount / 1000)
                if fault.do == "retag":
                    piece = _TAG.sub(rb"\1of-another-kind\2", piece)
            if fault.do == "cut_answer" and said + len(piece) > fault.amount:
                writer.write(piece[: fault.amount - said])
                await writer.drain()
                break
            said += len(piece)
            if fault.do != "lose_answer":
                writer.write(piece)
                await writer.drain()
        if fault.do in ("lose_answer", "cut_answer"):
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a router does that has forgotten the connection."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.contextmanager
def proxy(server: Server, *faults: Fault, window: int = 1 << 18) -> Iterator[Proxy]:
    """Run a proxy that vhpack goes through to a server.

    Of what it does not pass on yet it takes `window` bytes, and as much again: a slow server that swallowed all at once would
    only be slow to answer.
    """
    running = Proxy(("127.0.0.1", server.port), list(faults))
    ready = threading.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        running.ended = asyncio.Event()
        door = socket.create_server(("127.0.0.1", 0), backlog=256)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * window)
        listening = await asyncio.start_server(running._serve, sock=door, limit=window)
        running.port = listening.sockets[0].getsockname()[1]
        ready.set()
        await running.ended.wait()
        listening.close()
        # Connections that were accepted a moment ago are not tasks yet.
        for _ in range(3):
            await asyncio.sleep(0.01)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    server.via = running.port
    try:
        yield running
    finally:
        server.via = 0
        assert running.ended is not None
        loop.call_soon_threadsafe(running.ended.set)
        thread.join(10)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
