"""The choke point: an `Admitted` comes from here alone, and nothing reaches an upstream without."""

import hmac
from typing import NamedTuple, Protocol

from services.gateway.errors import PolicyUnavailable, Rejected
from shared.credentials import Secret, holds_minted_key, is_wellformed
from shared.decisions import (
    MASTER,
    MAX_MODEL_NAME,
    Allow,
    Deny,
    Listing,
    ListOptions,
    ListQuestion,
    Question,
    is_answer,
    trimmed,
)


class Policy(Protocol):
    """Who answers questions. Its errors are PolicyUnavailable; a refusal is an answer."""

    async def ask(self, ask: Question | ListQuestion) -> Allow | Deny | Listing:
        """The answer as of the question's floor or later. Raises PolicyUnavailable."""
        ...

    @property
    def floor(self) -> int:
        """The highest revision seen: no answer may be older. 0 before the first."""
        ...

    def saw(self, revision: int) -> None:
        """A change of this revision is enforced: nothing older is an answer from now on."""
        ...

    async def ping(self) -> int:
        """The revision of a policy replica that answers. Raises PolicyUnavailable."""
        ...


_PROOF = object()
_NO_NAME = ""
"""Asked about in place of a key: policy refuses it in its turn, as the bad name that it is."""
_NO_ANSWER = "the answer is not one to this question"


class Admitted:
    """Proof that policy allowed this key this model on this route; `allow` says what to send."""

    __slots__ = ("allow",)

    def __init__(self, allow: Allow, proof: object) -> None:
        """Only `Admission.authorize` has the proof; TypeError for anyone else."""
        if proof is not _PROOF:
            msg = "only a decision admits"
            raise TypeError(msg)
        self.allow = allow


class Caller(NamedTuple):
    """Who asks: a key's digest or MASTER, and the revision no answer to them may be older than."""

    key: bytes
    floor: int


class Admission:
    """Turns a presented key and a model name into a decision."""

    def __init__(self, policy: Policy, master_key: Secret | None) -> None:
        """Ask `policy`; the master key is checked here and never leaves."""
        self._policy = policy
        self._master = None if master_key is None else master_key.digest()

    def identify(self, key: Secret) -> bytes:
        """What stands for the caller in a question: the key's digest, or MASTER.

        A string that cannot be a key is refused here, and policy is not asked. Raises Rejected.
        """
        digest = key.digest()
        if self._master is not None and hmac.compare_digest(digest, self._master):
            return MASTER
        if not is_wellformed(key.reveal()):
            raise Rejected(
                401,
                "Authentication Error, Malformed API Key passed in. Keys begin with 'sk-'; "
                "check that it was copied whole.",
                kind="auth_error",
            )
        return digest

    async def account(self, caller: Caller, route: str) -> Allow | Deny:
        """Whether this caller may use this route at all. Raises PolicyUnavailable."""
        return await self._ask(caller, None, route)

    async def look_up(self, caller: Caller, model: str, route: str) -> Allow | Deny:
        """The decision on a name, for telling about it: it admits nothing."""
        # One character too many is as bad a name as a megabyte of them, and fits a message.
        name = _NO_NAME if self._is_key(model, caller) else model[: MAX_MODEL_NAME + 1]
        return await self._ask(caller, name, route)

    async def authorize(self, caller: Caller, model: str, route: str) -> Admitted | Deny:
        """May this caller call this model on this route? Raises PolicyUnavailable."""
        answer = await self.look_up(caller, model, route)
        if isinstance(answer, Deny):
            return answer
        if not answer.model or not answer.deployments:
            msg = "the answer allows nothing that could be sent"
            raise PolicyUnavailable(msg)
        return Admitted(answer, _PROOF)

    async def listing(
        self, caller: Caller, route: str, options: ListOptions | None = None
    ) -> Listing | Deny:
        """The names this caller may call. Raises PolicyUnavailable, Rejected."""
        if options is not None and options.team and self._is_key(options.team, caller):
            raise Rejected(400, "team_id: is a key, not a team's id.", param="team_id")
        question = ListQuestion(caller.key, route, caller.floor, options)
        answer = await self._policy.ask(question)
        if isinstance(answer, Allow) or not _holds(question, answer):
            raise PolicyUnavailable(_NO_ANSWER)
        return answer

    def _is_key(self, name: str, caller: Caller) -> bool:
        """Whether a client gave a key for a name: a minted one, their own, or the master key.

        Another key that was chosen by hand cannot be told from a name.
        """
        if "sk-" not in name:
            return False
        bare = trimmed(name)
        if is_wellformed(bare):
            digest = Secret(bare).digest()
            if digest == caller.key or (self._master and hmac.compare_digest(digest, self._master)):
                return True
        return holds_minted_key(name)

    async def _ask(self, caller: Caller, model: str | None, route: str) -> Allow | Deny:
        """The answer, when it is one to this question and not older than asked; else unknown."""
        question = Question(caller.key, model, route, caller.floor)
        answer = await self._policy.ask(question)
        if isinstance(answer, Listing) or not _holds(question, answer):
            raise PolicyUnavailable(_NO_ANSWER)
        return answer


def _holds(question: Question | ListQuestion, answer: Allow | Deny | Listing) -> bool:
    return answer.revision >= question.floor and is_answer(answer, question)
