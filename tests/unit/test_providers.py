"""The table of providers, and what a model name's prefix selects from it."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.providers import PROVIDERS, provider_of


@pytest.mark.parametrize(
    ("model", "custom", "provider", "sent"),
    [
        ("openai/fake", None, "openai", "fake"),
        ("gpt-4o", None, "openai", "gpt-4o"),
        ("*", None, "openai", "*"),
        ("openai/*", None, "openai", "*"),
        ("openai/openai/gpt-4", None, "openai", "openai/gpt-4"),
        (
            "fireworks_ai/accounts/fireworks/models/llama",
            None,
            "fireworks_ai",
            "accounts/fireworks/models/llama",
        ),
        ("anthropic/claude-*", None, "anthropic", "claude-*"),
        ("azure/my-deployment", None, "azure", "my-deployment"),
        ("together_ai/meta-llama/Llama-3", None, "together_ai", "meta-llama/Llama-3"),
        ("meta-llama/Llama-3", None, None, "meta-llama/Llama-3"),
        ("OpenAI/gpt-4", None, None, "OpenAI/gpt-4"),
        ("bedrock/anthropic.claude", None, None, "bedrock/anthropic.claude"),
        ("meta-llama/Llama-3", "groq", "groq", "meta-llama/Llama-3"),
        ("groq/llama", "groq", "groq", "llama"),
        ("openai/gpt-oss", "groq", "groq", "openai/gpt-oss"),
        ("gpt-4", "unheard_of", None, "gpt-4"),
    ],
)
def test_the_prefix_selects_the_provider_and_is_not_sent(model, custom, provider, sent):
    expected = PROVIDERS[provider] if provider else None
    assert provider_of(model, custom) == (expected, sent)


@given(st.sampled_from(sorted(PROVIDERS)), st.text(min_size=1))
def test_everything_behind_a_known_prefix_is_sent_unchanged(prefix, rest):
    assert provider_of(f"{prefix}/{rest}") == (PROVIDERS[prefix], rest)


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_provider_is_complete(name):
    provider = PROVIDERS[name]
    # An upstream that refuses to serve without a key has a variable to take it from.
    assert provider.key_variables or not provider.key_needed
    assert (provider.speaks == "anthropic") == (provider.credential == "x-api-key")
    if provider.base_url is None:
        return
    url = urlsplit(provider.base_url)
    assert url.scheme == "https" or url.hostname == "localhost"
    assert not provider.base_url.endswith("/")
    assert not provider.key_needed or url.scheme == "https"


def test_every_provider_of_the_documentation_is_there():
    documented = (
        "openai azure fireworks_ai groq mistral deepseek together_ai openrouter ollama"
        " hosted_vllm xai anthropic perplexity cerebras nvidia_nim lm_studio deepinfra gemini"
    )
    assert set(documented.split()) <= PROVIDERS.keys()
