"""How a request ends that cannot be served as it is, whatever policy would say."""


class Rejected(Exception):
    """The request cannot be served as it is; a client sees exactly these fields.

    `status` is HTTP's, `kind` and `param` the envelope's `type` and `param`; `headers` go out
    beside it (`Allow`, `Retry-After`). `closes` says the connection cannot be used further.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        closes: bool = False,
    ) -> None:
        """Say what is wrong and what would work; never with a secret in it."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.headers = headers
        self.closes = closes


class PolicyUnavailable(Exception):
    """No policy replica gave a fresh answer in time: it is not known whether this is allowed."""
