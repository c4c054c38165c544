"""The official SDKs, pointed at the gateway: they work, and refusals are their own exceptions."""

import anthropic
import openai
import pytest


@pytest.fixture(name="key")
def _key(stack):
    models = ["gpt-4", "openai/*", "text-embedding-3-small", "claude-sonnet-5-5", "whisper-1"]
    return stack.manage("/key/generate", {"models": models})["key"]


def openai_client(stack, key):
    return openai.OpenAI(base_url=stack.url + "/v1", api_key=key, max_retries=0)


def anthropic_client(stack, key):
    return anthropic.Anthropic(base_url=stack.url, api_key=key, max_retries=0)


def test_openai_chat_and_streaming(stack, key):
    with openai_client(stack, key) as client:
        said = client.chat.completions.create(
            model="gpt-4", messages=[{"role": "user", "content": "Hello"}]
        )
        assert said.choices[0].message.content
        events = list(
            client.chat.completions.create(
                model="gpt-4", messages=[{"role": "user", "content": "Hello"}], stream=True
            )
        )
        assert len(events) > 1
        assert "".join(e.choices[0].delta.content or "" for e in events if e.choices)


def test_openai_embeddings_and_models(stack, key):
    with openai_client(stack, key) as client:
        embedded = client.embeddings.create(model="text-embedding-3-small", input="Hello")
        assert embedded.data[0].embedding
        listed = {model.id for model in client.models.list()}
        assert "gpt-4" in listed
        assert "gpt-4o" not in listed
        assert client.models.retrieve("gpt-4").id == "gpt-4"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-4o")


def test_openai_transcription(stack, key):
    with openai_client(stack, key) as client:
        heard = client.audio.transcriptions.create(
            model="whisper-1", file=("a.wav", b"RIFF0000WAVE", "audio/wav")
        )
        assert heard.text


def test_openai_refusals_are_its_own_exceptions(stack, key):
    message = [{"role": "user", "content": "Hello"}]
    with openai_client(stack, key) as client:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.chat.completions.create(model="gpt-4o", messages=message)
        assert refused.value.param == "model"
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="no-such-model", messages=message)
    unrestricted = stack.manage("/key/generate", {})["key"]
    with (
        openai_client(stack, unrestricted) as client,
        pytest.raises((openai.NotFoundError, openai.BadRequestError)),
    ):
        client.chat.completions.create(model="no-such-model", messages=message)
    with (
        openai_client(stack, "sk-gg-nobody") as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="gpt-4", messages=message)


def test_anthropic_messages_and_streaming(stack, key):
    message = [{"role": "user", "content": "Hello"}]
    with anthropic_client(stack, key) as client:
        said = client.messages.create(model="claude-sonnet-5-5", max_tokens=64, messages=message)
        assert said.content[0].text
        with client.messages.stream(
            model="claude-sonnet-5-5", max_tokens=64, messages=message
        ) as stream:
            assert stream.get_final_text()
        counted = client.messages.count_tokens(model="claude-sonnet-5-5", messages=message)
        assert counted.input_tokens > 0


def test_anthropic_refusals_are_its_own_exceptions(stack, key):
    message = [{"role": "user", "content": "Hello"}]
    with anthropic_client(stack, key) as client:
        with pytest.raises(anthropic.PermissionDeniedError):
            client.messages.create(model="claude-opus", max_tokens=64, messages=message)
        with pytest.raises(anthropic.BadRequestError) as mismatch:
            client.messages.create(model="gpt-4", max_tokens=64, messages=message)
        assert "/v1/chat/completions" in str(mismatch.value)
    with (
        anthropic_client(stack, "sk-gg-nobody") as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="claude-sonnet-5-5", max_tokens=64, messages=message)
