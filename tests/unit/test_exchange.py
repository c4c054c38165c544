"""An answer passed on piece by piece, in process: a connection over a transport of the test's own.

What the upstream sends is cut anywhere, the sink is full at any time, and turns of the event loop
come in between as they like.
"""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.answer import Broken
from services.gateway.wire import READ_AT_ONCE, Connection

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
LIMITS = {"first_byte_s": 5.0, "idle_s": 5.0}


def framed(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


class Transport(asyncio.Transport):
    """Keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.is_reading = True
        self.is_aborted = False
        self.sent = b""

    def write(self, data):
        self.sent += data

    def pause_reading(self):
        self.is_reading = False

    def resume_reading(self):
        self.is_reading = True

    def is_closing(self):
        return self.is_aborted

    def abort(self):
        self.is_aborted = True

    def get_write_buffer_size(self):
        return 0


class Sink:
    """Takes `room` pieces, then is full until it is given room again."""

    def __init__(self, room=1_000_000):
        self.room = room
        self.pieces = []
        self._drained = asyncio.Event()

    @property
    def body(self):
        return b"".join(self.pieces)

    def write(self, data):
        assert data
        self.pieces.append(data)
        self.room -= 1
        self._drained.clear()
        return self.room > 0

    async def drain(self):
        if self.room <= 0:
            await self._drained.wait()

    def give(self, room):
        self.room = room
        self._drained.set()


class Line:
    """A connection, and the upstream at its other end."""

    def __init__(self):
        self.given_back = []
        self._buffer = memoryview(bytearray(READ_AT_ONCE))
        self.connection = Connection(
            asyncio.get_running_loop(), self._buffer, lambda _, kept: self.given_back.append(kept)
        )
        self.transport = Transport()
        self.connection.connection_made(self.transport)

    def says(self, data):
        """Bring bytes in a buffer that then serves another connection."""
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))
        self._buffer[: len(data)] = b"\xff" * len(data)

    async def answer(self, head=HEAD, **limits):
        asked = asyncio.ensure_future(self.connection.exchange([b"x"], **(LIMITS | limits)))
        await asyncio.sleep(0)
        self.says(head)
        return await asked


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


async def passing(line, sink, **limits):
    answer = await line.answer(**limits)
    task = asyncio.ensure_future(answer.pass_to(sink))
    await turns()
    return answer, task


async def test_a_piece_is_passed_on_within_the_call_that_brought_it():
    line, sink = Line(), Sink()
    answer, task = await passing(line, sink)
    for number in range(100):
        line.says(framed(b"%d" % number))
        assert sink.pieces[-1] == b"%d" % number
    assert len(sink.pieces) == 100
    line.says(END)
    await task
    answer.close()
    assert line.given_back == [True]


async def test_what_came_before_anybody_took_it_is_passed_on_first():
    line, sink = Line(), Sink()
    answer = await line.answer(HEAD + framed(b"first"))
    line.says(framed(b"second"))
    task = asyncio.ensure_future(answer.pass_to(sink))
    await turns()
    line.says(framed(b"third") + END)
    await task
    assert sink.pieces == [b"firstsecond", b"third"]


async def test_a_full_sink_gets_nothing_and_the_upstream_is_not_read_until_it_has_room():
    line, sink = Line(), Sink(room=2)
    _, task = await passing(line, sink)
    line.says(framed(b"a"))
    assert line.transport.is_reading
    line.says(framed(b"b"))
    assert not line.transport.is_reading
    # What TLS had decrypted before it was told.
    line.says(framed(b"c"))
    await turns()
    assert sink.pieces == [b"a", b"b"]
    assert not line.transport.is_reading
    sink.give(10)
    await turns()
    assert sink.pieces == [b"a", b"b", b"c"]
    assert line.transport.is_reading
    task.cancel()


async def test_the_connection_is_kept_after_an_answer_that_ended_while_its_sink_was_full():
    line, sink = Line(), Sink(room=1)
    answer, task = await passing(line, sink)
    line.says(framed(b"a"))
    line.says(END)
    sink.give(1)
    await task
    answer.close()
    # Nobody may read on who has stopped to: rather end it than hand it on deaf.
    assert line.given_back == [line.transport.is_reading]


@pytest.mark.parametrize("broken", [b"x", framed(b"b")[:-2] + b"XX", b"0\r\n\r\nHTTP/1.1 200 OK"])
async def test_what_came_before_the_upstream_broke_is_passed_on_and_then_it_is_told(broken):
    line, sink = Line(), Sink()
    answer, task = await passing(line, sink)
    line.says(framed(b"a"))
    line.says(framed(b"!") + broken)
    with pytest.raises(Broken):
        await task
    assert sink.body.startswith(b"a!")
    assert line.transport.is_aborted
    answer.close()
    assert line.given_back == [False]


async def test_a_connection_that_ends_in_the_middle_is_no_end_of_the_answer():
    line, sink = Line(), Sink()
    _, task = await passing(line, sink)
    line.says(framed(b"a"))
    line.connection.connection_lost(None)
    with pytest.raises(Broken):
        await task
    assert sink.body == b"a"


async def test_a_body_to_the_end_of_the_connection_is_passed_on_to_it():
    line, sink = Line(), Sink()
    answer, task = await passing(line, sink, head=b"HTTP/1.1 200 OK\r\n\r\n")
    line.says(b"a")
    line.says(b"b")
    line.connection.connection_lost(None)
    await task
    assert sink.body == b"ab"
    answer.close()
    assert line.given_back == [False]


async def test_a_body_to_the_end_of_the_connection_is_not_ended_by_a_reset():
    line, sink = Line(), Sink()
    _, task = await passing(line, sink, head=b"HTTP/1.1 200 OK\r\n\r\n")
    line.says(b"a")
    line.connection.connection_lost(ConnectionResetError())
    with pytest.raises(Broken):
        await task
    assert sink.body == b"a"


@pytest.mark.parametrize(
    "answered",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour",
    ],
)
async def test_a_connection_that_is_to_end_or_has_more_to_say_is_not_kept(answered):
    line = Line()
    answer = await line.answer(answered)
    answer.close()
    assert line.given_back == [False]
    assert line.transport.is_aborted


async def test_a_connection_that_was_not_sent_all_of_a_request_is_not_kept():
    line = Line()
    line.connection.pause_writing()
    asked = asyncio.ensure_future(line.connection.exchange([b"one", b"two"], **LIMITS))
    await turns()
    line.says(HEAD + END)
    answer = await asked
    assert line.transport.sent == b"one"
    assert await answer.whole() == b""
    answer.close()
    assert line.given_back == [False]


async def test_a_cancelled_reader_gets_nothing_more_and_its_upstream_is_closed():
    line, sink = Line(), Sink()
    answer, task = await passing(line, sink)
    line.says(framed(b"a"))
    task.cancel()
    await asyncio.wait([task])
    line.says(framed(b"b"))
    assert sink.body == b"a"
    answer.close()
    assert line.transport.is_aborted


async def test_every_piece_begins_the_idle_time_anew_and_it_is_one_timer():
    loop = asyncio.get_running_loop()
    line, sink = Line(), Sink()
    _, task = await passing(line, sink, idle_s=0.6)
    began = loop.time()
    timer = answer_timer(line)
    while loop.time() < began + 0.3:
        line.says(framed(b"x"))
        assert answer_timer(line) is timer
        await asyncio.sleep(0)
    last = loop.time()
    with pytest.raises(TimeoutError):
        await task
    assert loop.time() - last >= 0.59


def answer_timer(line):
    return line.connection._exchange._timer


async def test_a_sink_that_stays_full_is_not_the_upstreams_fault():
    line, sink = Line(), Sink(room=1)
    _, task = await passing(line, sink, idle_s=0.05)
    line.says(framed(b"a"))
    done, _ = await asyncio.wait([task], timeout=0.15)
    assert not done
    sink.give(5)
    with pytest.raises(TimeoutError):
        await task


async def test_the_time_in_all_ends_a_stream_that_goes_on():
    line, sink = Line(), Sink()
    _, task = await passing(line, sink, total_s=0.05)
    async with asyncio.timeout(5):
        while not task.done():
            if not line.transport.is_aborted:
                line.says(framed(b"a"))
            await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await task


async def test_an_answer_closed_twice_does_not_give_its_connection_to_two():
    line = Line()
    first = await line.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    first.close()
    first.close()
    assert line.given_back == [True]
    second = await line.answer(HEAD)
    first.close()
    assert line.given_back == [True]
    assert line.connection.is_usable
    line.says(framed(b"mine") + END)
    assert await second.whole() == b"mine"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("says"), st.integers(1, 30)),
        st.tuples(st.just("gives"), st.integers(1, 3)),
        st.tuples(st.just("turns"), st.integers(1, 3)),
    ),
    max_size=60,
)


async def play(line, sink, told, steps, start):
    """Bring what is `told` in steps, with somebody who takes it from the byte `start` on."""
    asked = asyncio.ensure_future(line.connection.exchange([b"x"], **LIMITS))
    await turns()
    left, passing_on = told, None
    for step, amount in steps:
        if passing_on is None and asked.done() and len(told) - len(left) >= start:
            passing_on = asyncio.ensure_future((await asked).pass_to(sink))
        if step == "says" and line.transport.is_reading and left:
            line.says(left[:amount])
            left = left[amount:]
        elif step == "gives":
            sink.give(amount)
        elif step == "turns":
            await turns(amount)
    if left:
        line.says(left)
    line.connection.connection_lost(None)
    sink.give(1_000_000)
    async with asyncio.timeout(5):
        await (passing_on or (await asked).pass_to(sink))


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=12),
    st.sampled_from(["chunked", "sized", "to-close"]),
    STEPS,
    st.integers(0, 60),
    st.booleans(),
)
@settings(max_examples=300)
def test_any_schedule_passes_on_exactly_the_body_or_breaks(bodies, framing, steps, start, cut):
    body = b"".join(bodies)
    told = {
        "chunked": HEAD + b"".join(map(framed, bodies)) + END,
        "sized": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        "to-close": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }[framing]

    async def run():
        sink = Sink(room=1)
        try:
            await play(Line(), sink, told[: -1 - len(told) // 5] if cut else told, steps, start)
        except Broken:
            assert cut
        else:
            # Where the end of the connection is the end of the body nobody can tell.
            assert framing == "to-close" if cut else sink.body == body
        assert body.startswith(sink.body)

    asyncio.run(run())
