"""LiteLLM's custom auth as an allow-list; copied beside LiteLLM's configuration, run by it."""

import os
from pathlib import Path

from fastapi import HTTPException, Request  # type: ignore[import-not-found,unused-ignore]
from litellm.proxy._types import UserAPIKeyAuth  # type: ignore[import-not-found,unused-ignore]

_ALLOWED = frozenset(Path(os.environ["BENCH_KEYS_FILE"]).read_text().split())
_MODELS = [os.environ["BENCH_MODEL"]]


async def allowed(request: Request, api_key: str) -> UserAPIKeyAuth:
    """The caller, when the key is known and its list has the model."""
    if api_key not in _ALLOWED or (await request.json()).get("model") not in _MODELS:
        raise HTTPException(status_code=403, detail="not allowed")
    return UserAPIKeyAuth(api_key=api_key, models=_MODELS)
