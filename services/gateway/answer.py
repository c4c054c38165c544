"""An upstream's answer, as whoever passes it on sees it."""

from typing import Protocol


class Sink(Protocol):
    """Where a body goes as it arrives."""

    def write(self, data: bytes) -> bool:
        """Take a piece, and do not raise; False to get no other one until `drain` returns."""
        ...

    async def drain(self) -> None:
        """Return when more can be taken."""
        ...


class Source(Protocol):
    """Where an answer comes from."""

    @property
    def has_arrived(self) -> bool:
        """Whether the answer is complete, read or not."""
        ...

    async def chunk(self) -> bytes:
        """The next bytes of the body. See Answer.chunk."""
        ...

    async def pass_to(self, sink: Sink) -> None:
        """Give `sink` the rest of the body. See Answer.pass_to."""
        ...

    def finish(self) -> None:
        """Have no more to do with it."""
        ...


class Unreachable(Exception):
    """No connection could be made: nothing of the request was sent."""


class ConnectTimeout(Unreachable):
    """No connection could be made, or became free, in time."""


class AddressRefused(Unreachable):
    """The upstream's name has no address that it may be at."""


class Broken(Exception):
    """The upstream broke off, or sent what is no answer.

    `untouched` when not one byte of the request can have reached it, so another may have it.
    """

    def __init__(self, why: str, *, untouched: bool = False) -> None:
        """Say why, in words of our own: nothing of the upstream's is repeated."""
        super().__init__(why)
        self.untouched = untouched


class Answer:
    """An upstream's answer from its head on. Read `chunk` to its end, or `close`."""

    __slots__ = ("_source", "content_length", "deployment", "headers", "secrets", "status")

    def __init__(
        self,
        source: Source,
        status: int,
        headers: list[tuple[str, str]],
        content_length: int | None,
    ) -> None:
        """Belong to `source`; `content_length` is bytes, None when it was not said."""
        self._source = source
        self.status = status
        self.headers = headers
        self.content_length = content_length
        self.secrets: tuple[str, ...] = ()
        """What must not be passed on should the upstream repeat it."""
        self.deployment: str | None = None
        """Whose answer it is, where its sender says so."""

    @property
    def has_arrived(self) -> bool:
        """Whether the whole body is here."""
        return self._source.has_arrived

    def header(self, name: str) -> str:
        """The first value of a header, by its lower-case name; "" when there is none."""
        return next((value for found, value in self.headers if found == name), "")

    async def chunk(self) -> bytes:
        """The next bytes of the body as they arrive, b"" after the last. Raises Broken.

        TimeoutError when nothing comes for the idle time, or the whole takes too long.
        """
        return await self._source.chunk()

    async def pass_to(self, sink: Sink) -> None:
        """Give `sink` the rest of the body, each piece as it arrives. Raises as `chunk` does.

        A piece costs no task its turn; the upstream waits for a sink that is full.
        """
        await self._source.pass_to(sink)

    async def whole(self, at_most: int | None = None) -> bytes:
        """The rest of the body. Raises Broken, also over `at_most` bytes, and TimeoutError."""
        parts, size = [], 0
        while part := await self._source.chunk():
            parts.append(part)
            size += len(part)
            if at_most is not None and size > at_most:
                msg = f"a body of more than {at_most} bytes"
                raise Broken(msg)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give the connection back if the answer is complete, else end it at once."""
        self._source.finish()
