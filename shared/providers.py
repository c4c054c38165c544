"""The providers Grantgate speaks to: what the prefix of `litellm_params.model` stands for."""

from typing import Literal

import msgspec

Speaks = Literal["openai", "anthropic"]
"""The API an upstream has; a request is relayed to one that speaks its own."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider is addressed.

    `base_url` is used when the entry names none. `key_variables` are the environment variables
    that hold its key by default, as LiteLLM names them; `key_needed` says that it refuses to
    serve without. `paths` says how a request's address is made from the base:

    * `plain`: base, then the route's part after /v1
    * `versioned`: the same, but /v1 is added to a base that lacks it, as LiteLLM does
    * `azure`: base, /openai/deployments/{model}, the route's part, and the API version
    """

    speaks: Speaks = "openai"
    base_url: str | None = None
    credential: Literal["authorization", "x-api-key", "api-key"] = "authorization"
    key_variables: tuple[str, ...] = ()
    key_needed: bool = True
    paths: Literal["plain", "versioned", "azure"] = "plain"


_OPENAI = Provider(base_url="https://api.openai.com/v1", key_variables=("OPENAI_API_KEY",))
_OLLAMA = Provider(base_url="http://localhost:11434/v1", key_needed=False, paths="versioned")

COMPATIBLE = Provider(key_needed=False)
"""What an endpoint is taken for whose provider is not known: OpenAI-compatible, bearer key."""

PROVIDERS: dict[str, Provider] = {
    "openai": _OPENAI,
    "text-completion-openai": _OPENAI,
    "custom_openai": COMPATIBLE,
    "openai_like": COMPATIBLE,
    "anthropic": Provider(
        speaks="anthropic",
        base_url="https://api.anthropic.com/v1",
        credential="x-api-key",
        key_variables=("ANTHROPIC_API_KEY",),
        paths="versioned",
    ),
    "azure": Provider(credential="api-key", key_variables=("AZURE_API_KEY",), paths="azure"),
    "cerebras": Provider(
        base_url="https://api.cerebras.ai/v1", key_variables=("CEREBRAS_API_KEY",)
    ),
    "deepinfra": Provider(
        base_url="https://api.deepinfra.com/v1/openai", key_variables=("DEEPINFRA_API_KEY",)
    ),
    "deepseek": Provider(
        base_url="https://api.deepseek.com/v1", key_variables=("DEEPSEEK_API_KEY",)
    ),
    "fireworks_ai": Provider(
        base_url="https://api.fireworks.ai/inference/v1",
        key_variables=(
            "FIREWORKS_API_KEY",
            "FIREWORKS_AI_API_KEY",
            "FIREWORKSAI_API_KEY",
            "FIREWORKS_AI_TOKEN",
        ),
    ),
    "gemini": Provider(
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    "groq": Provider(base_url="https://api.groq.com/openai/v1", key_variables=("GROQ_API_KEY",)),
    "hosted_vllm": Provider(key_variables=("HOSTED_VLLM_API_KEY",), key_needed=False),
    "litellm_proxy": Provider(key_variables=("LITELLM_PROXY_API_KEY",), key_needed=False),
    "lm_studio": Provider(
        base_url="http://localhost:1234/v1",
        key_variables=("LM_STUDIO_API_KEY",),
        key_needed=False,
    ),
    "mistral": Provider(base_url="https://api.mistral.ai/v1", key_variables=("MISTRAL_API_KEY",)),
    "nvidia_nim": Provider(
        base_url="https://integrate.api.nvidia.com/v1", key_variables=("NVIDIA_NIM_API_KEY",)
    ),
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "openrouter": Provider(
        base_url="https://openrouter.ai/api/v1",
        key_variables=("OPENROUTER_API_KEY", "OR_API_KEY"),
    ),
    "perplexity": Provider(
        base_url="https://api.perplexity.ai",
        key_variables=("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    ),
    "sambanova": Provider(
        base_url="https://api.sambanova.ai/v1", key_variables=("SAMBANOVA_API_KEY",)
    ),
    "together_ai": Provider(
        base_url="https://api.together.xyz/v1",
        key_variables=(
            "TOGETHER_API_KEY",
            "TOGETHER_AI_API_KEY",
            "TOGETHERAI_API_KEY",
            "TOGETHER_AI_TOKEN",
        ),
    ),
    "xai": Provider(base_url="https://api.x.ai/v1", key_variables=("XAI_API_KEY",)),
}
"""Every known provider by its prefix. Those without a base URL need `api_base`."""


def provider_of(model: str, custom: str | None = None) -> tuple[Provider | None, str]:
    """The provider of a `litellm_params.model`, and the model name to send it.

    `custom` is `custom_llm_provider`, which goes before the prefix. A name without a slash is
    OpenAI's. The provider is None when it is not known; then the whole name is the model's, as
    in `meta-llama/Llama-3-8b`.
    """
    if custom is not None:
        return PROVIDERS.get(custom), model.removeprefix(custom + "/")
    prefix, slash, rest = model.partition("/")
    if not slash:
        return _OPENAI, model
    provider = PROVIDERS.get(prefix)
    return (provider, rest) if provider else (None, model)
