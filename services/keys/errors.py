"""Why a management call is not carried out, told apart by what its caller can do about it."""

import msgspec

from shared.credentials import masked
from shared.decisions import DenyReason


class ManagementError(Exception):
    """A call that was not carried out. Its text is for the caller, and for a log perhaps.

    It may repeat what the caller sent: a key that was put in the place of an id, of a name or
    of a field is told by its short form alone.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        """Say what is wrong and, when one field is at fault, which."""
        self.message = masked(message)
        super().__init__(self.message)
        self.param = None if param is None else masked(param)


class InvalidRequest(ManagementError):
    """Something the caller sent cannot be: change it."""


class AlreadyTaken(ManagementError):
    """A name or id is in use: choose another."""


class AlreadyMember(ManagementError):
    """Whoever was to be added to a team is in it: change them by an update."""


class Conflict(ManagementError):
    """What is asked contradicts what was done before under the same name."""


class Forbidden(ManagementError):
    """The caller may make such calls, but not this one."""


class Denied(ManagementError):
    """The key that calls is refused as policy would refuse it: for itself, or for its routes."""

    def __init__(self, reason: DenyReason, message: str, param: str | None = None) -> None:
        """Say why, in a word and in words."""
        super().__init__(message, param)
        self.reason = reason


class MayNotCall(ManagementError):
    """The caller is known, and may not make such calls at all."""


class NotPermitted(ManagementError):
    """A member of a team lacks the team's permission for this call."""


class NotFound(ManagementError):
    """The record named does not exist (any more)."""


class TooLarge(ManagementError):
    """The request, or the change it would make, is above its limit: make it smaller."""

    def __init__(self, limit: int) -> None:
        """Give the limit in bytes."""
        super().__init__(f"The request, or the change it would make, is larger than {limit} bytes")


class Mismatch(ManagementError):
    """The same idempotency key with another body: one of the two calls is a mistake."""


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """One field of the wrong type or missing, in pydantic's words as LiteLLM's clients know them.

    `loc` begins with `body` or `query`; numbers in it are positions in a list.
    """

    type: str
    loc: tuple[str | int, ...]
    msg: str


class WrongFields(ManagementError):
    """Fields are missing or of the wrong type: change them."""

    def __init__(self, *problems: FieldProblem) -> None:
        """List the fields."""
        super().__init__("; ".join(f"{'.'.join(map(str, p.loc))}: {p.msg}" for p in problems))
        self.problems = problems


class Unavailable(ManagementError):
    """The log of changes cannot be reached or trusted: nothing is known, try again."""

    def __init__(self, why: str = "the change log cannot be reached; try again") -> None:
        """Say why, for the caller."""
        super().__init__(f"Service Unavailable: {why}")
