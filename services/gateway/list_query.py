"""What LiteLLM's query parameters ask of the model list, read strictly."""

from collections.abc import Iterable

import msgspec

from services.gateway.errors import Rejected
from shared.flags import read_flag


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The parameters of `/v1/models` that mean something; each default is LiteLLM's.

    `return_wildcard_routes` keeps a pattern in the list beside the names it was found to have.
    """

    team_id: str | None = None
    include_model_access_groups: bool = False
    only_model_access_groups: bool = False
    return_wildcard_routes: bool = False

    @property
    def wants_groups(self) -> bool:
        """Whether access groups are to be listed."""
        return self.include_model_access_groups or self.only_model_access_groups


LIST_PARAMETERS = frozenset(ListQuery.__struct_fields__)
_FLAGS = LIST_PARAMETERS - {"team_id"}


def read_list_query(parameters: Iterable[tuple[str, str]]) -> ListQuery:
    """Read decoded parameters, all of LIST_PARAMETERS. An empty team is none.

    Raises Rejected (400) for a flag that is neither true nor false, and for one given twice.
    """
    given: dict[str, object] = {}
    for name, value in parameters:
        if name in given:
            raise Rejected(400, f"{name}: is given twice", param=name)
        if name in _FLAGS:
            flag = read_flag(value)
            if flag is None:
                raise Rejected(400, f"{name}: must be true or false", param=name)
            given[name] = flag
        else:
            given[name] = value or None
    return msgspec.convert(given, ListQuery)
