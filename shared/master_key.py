"""The master key: where it is written, and what it must be like."""

from collections.abc import Mapping

from shared.credentials import Secret, is_wellformed
from shared.reading import ENVIRONMENT, Place, resolve, text
from shared.settings_reader import MASTER_KEY

MIN_MASTER_KEY = 8
"""Characters a master key must have."""


def read_master_key(value: object, environ: Mapping[str, str], place: Place) -> Secret | None:
    """The master key: `general_settings.master_key`, else of the environment, else none.

    `environ` has its secret files filled in. Raises ConfigError for one that cannot be used.
    """
    if value is not None:
        secret = resolve(text(value, place), environ, place)
    else:
        name = next((n for n in (MASTER_KEY, "LITELLM_MASTER_KEY") if environ.get(n)), None)
        if name is None:
            return None
        place, secret = Place(ENVIRONMENT, name), environ[name]
    if len(secret) < MIN_MASTER_KEY or not is_wellformed(secret):
        what = f"a master key begins with sk- and has {MIN_MASTER_KEY} or more visible characters"
        raise place.error(what, "choose another (one that begins with sk-gg- must be a minted one)")
    return Secret(secret)
