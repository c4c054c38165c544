"""All that passes over NATS and all that JetStream holds, seen by users who may see everything."""

import asyncio
import threading

from nats.aio.client import Client
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from tests.e2e.leaks.product import WATCHERS


class Overheard:
    """Listens in a thread of its own, through restarts of the server, until `close`.

    `messages` are (kind, content): the kind is how the subject begins.
    """

    def __init__(self, url):
        self.messages = []
        self._url = url
        self._clients = [Client() for _ in WATCHERS]
        self._client = self._clients[0]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._wait(self._listen())

    def _wait(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self):
        async def heard(message):
            told = f"{message.subject} {message.reply} {message.headers} ".encode()
            kind = f"message on {message.subject.partition('.')[0]}"
            self.messages.append((kind, told + message.data))

        async def ignore(_error):
            pass

        for client, watcher in zip(self._clients, WATCHERS, strict=True):
            await client.connect(
                self._url,
                user=watcher,
                password=watcher,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.05,
                error_cb=ignore,
            )
            await client.subscribe(">", cb=heard)
            await client.flush()

    def plant(self, secret):
        """Put a secret into a message, and into a stream of its own."""

        async def put():
            stream = StreamConfig(name="PLANTED", subjects=["planted.stored"])
            jetstream = self._client.jetstream()
            await jetstream.add_stream(stream)
            await jetstream.publish("planted.stored", secret.encode())

        self._wait(put())

    def stored(self):
        """Every message of every stream, as (kind, content)."""
        return self._wait(self._stored())

    async def _stored(self):
        jetstream = self._client.jetstream()
        found = []
        for stream in await jetstream.streams_info():
            name, number = stream.config.name, 0
            # Some are replaced by later ones meanwhile.
            while number < (state := (await jetstream.stream_info(name)).state).last_seq:
                number = max(number + 1, state.first_seq)
                try:
                    message = await jetstream.get_msg(name, number)
                except NotFoundError:
                    continue
                told = f"{message.subject} {message.headers} ".encode()
                found.append((f"stream {name}", told + message.data))
        return found

    def close(self):
        for client in self._clients:
            self._wait(client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
