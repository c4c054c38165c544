"""Run as a process of its own: an origin of large answers, and clients that read them slowly.

Given the files of a certificate and its key the origin speaks TLS. Prints the origin's port; told
the gateway's port and a request, prints a line once every client has had the head of its answer
and the origin has stood still; ends when its input does.
"""

import asyncio
import base64
import socket
import ssl
import sys

SIZE = 10 * 1024 * 1024
CLIENTS = 200
READ_AT_ONCE = 1024
STILL_S = 1.0


class Origin:
    """Answers every request with SIZE bytes, as fast as they are taken."""

    def __init__(self):
        self.sent = 0

    async def serve(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
            for _ in range(SIZE // 65536):
                writer.write(bytes(65536))
                await writer.drain()
                self.sent += 65536
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def read_slowly(port, request, begun):
    """A client whose window is as small as it can be."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, request)
        got = await loop.sock_recv(sock, READ_AT_ONCE)
        begun(got[:12])
        while got:
            await asyncio.sleep(1.0)
            got = await loop.sock_recv(sock, READ_AT_ONCE)


async def main():
    """Do what the module says."""
    origin, tls = Origin(), None
    if len(sys.argv) > 1:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*sys.argv[1:])
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, backlog=CLIENTS, ssl=tls)
    loop = asyncio.get_running_loop()
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    port, request = (await loop.run_in_executor(None, sys.stdin.readline)).split()
    answered = []
    reading = [
        asyncio.create_task(read_slowly(int(port), base64.b64decode(request), answered.append))
        for _ in range(CLIENTS)
    ]
    before = -1
    while before != origin.sent or len(answered) < CLIENTS:
        before = origin.sent
        await asyncio.sleep(STILL_S)
    assert set(answered) == {b"HTTP/1.1 200"}, set(answered)
    print(origin.sent, flush=True)  # noqa: T201
    await loop.run_in_executor(None, sys.stdin.readline)
    for each in reading:
        each.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
