"""An upstream that fails in the way its model's name says, and remembers what it was sent.

It is a proxy too, one that refuses every tunnel and says who asked for it.
"""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SILENT_S = 3.0
HELD = ("authorization", "x-extra", "proxy-authorization")
"""Headers with a credential, which the failures repeat."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Say nothing of a gateway that hung up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append(("request to an upstream", self.request_head() + body))
        getattr(self, "be_" + json.loads(body)["model"])(self.shown())

    def do_CONNECT(self):
        self.server.heard.append(("request to a proxy", self.request_head()))
        self.tell(407, {"error": f"not for {self.shown()}"}, self.shown())
        self.close_connection = True

    def request_head(self):
        return f"{self.requestline}\n{self.headers}".encode()

    def shown(self):
        return [value for name in HELD if (value := self.headers.get(name))]

    def be_fine(self, _shown):
        self.tell(200, {"choices": [], "model": "fine"})

    def be_refusing(self, shown):
        self.tell(401, {"error": {"message": f"Incorrect API key provided: {shown}"}})

    def be_failing(self, shown):
        self.tell(500, {"error": {"message": f"no such account: {' '.join(shown)}"}}, shown)

    def be_escaping(self, shown):
        told = json.dumps({"error": {"message": " ".join(shown)}})
        self.tell(400, told.replace("/", "\\/"), shown)

    def be_resetting(self, _shown):
        self.close_connection = True

    def be_halting(self, _shown):
        self.send_response(200)
        self.send_header("content-length", "1000000")
        self.end_headers()
        self.wfile.write(b"{")
        self.close_connection = True

    def be_silent(self, _shown):
        time.sleep(SILENT_S)
        self.close_connection = True

    def tell(self, status, told, shown=()):
        content = (told if isinstance(told, str) else json.dumps(told)).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for number, value in enumerate(shown):
            self.send_header(f"x-ratelimit-{number}", value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    """The server; `heard` is what it was sent, by its kind, `port` where it listens."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.heard, server.port = [], server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
