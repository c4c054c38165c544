"""The demo upstream satisfies the official SDKs and shows what reached it."""

import hashlib
import io
import json
from collections.abc import AsyncIterator

import aiohttp
import anthropic
import openai
import pytest
from aiohttp.test_utils import TestServer

from services.dev import demo_upstream

CREDENTIAL = "sk-upstream"
FINGERPRINT = hashlib.sha256(CREDENTIAL.encode()).hexdigest()[:12]
SAYS_HI = [{"role": "user", "content": "hi there"}]
REPLY = "Hello from m-1! You said: hi there"


def mark(model: str = "m-1") -> dict[str, str]:
    return {"model": model, "credential": FINGERPRINT}


@pytest.fixture
async def base() -> AsyncIterator[str]:
    server = TestServer(demo_upstream.build())
    await server.start_server()
    yield str(server.make_url("/")).rstrip("/")
    await server.close()


@pytest.fixture
async def oai(base: str) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{base}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=CREDENTIAL, max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(base: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=base, api_key=CREDENTIAL, max_retries=0) as client:
        yield client


async def test_chat_answers_with_the_model_and_a_fingerprint_of_the_credential(oai):
    answer = await oai.chat.completions.create(model="m-1", messages=SAYS_HI)
    assert answer.model == "m-1"
    assert answer.choices[0].message.content == REPLY
    assert answer.usage.total_tokens > 0
    assert answer.model_extra["grantgate_demo"] == mark()


async def test_chat_streams_the_same_text_and_its_usage_when_asked(oai):
    stream = await oai.chat.completions.create(
        model="m-1", messages=SAYS_HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == REPLY
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert [c for c in chunks if c.usage] == chunks[-1:]
    assert chunks[0].model_extra["grantgate_demo"] == mark()


async def test_a_chat_stream_ends_with_done_and_has_usage_only_when_asked(base):
    asked = {"model": "m-1", "messages": SAYS_HI, "stream": True}
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base}/v1/chat/completions", json=asked, headers=headers) as answer,
    ):
        lines = (await answer.text()).strip().split("\n\n")
        assert answer.content_type == "text/event-stream"
    assert lines[-1] == "data: [DONE]"
    assert not any("usage" in json.loads(line.removeprefix("data: ")) for line in lines[:-1])


async def test_completions_answers_whole_and_streamed(oai):
    whole = await oai.completions.create(model="m-1", prompt="hi there")
    assert whole.choices[0].text == REPLY
    stream = await oai.completions.create(model="m-1", prompt="hi there", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == REPLY


async def test_responses_answers_whole_and_streamed(oai):
    whole = await oai.responses.create(model="m-1", input="hi there")
    assert whole.output_text == REPLY
    async with oai.responses.stream(model="m-1", input=SAYS_HI) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == REPLY
    assert final.model_extra["grantgate_demo"] == mark()


async def test_embeddings_depend_on_the_text_alone_in_either_encoding(oai):
    packed = await oai.embeddings.create(model="m-1", input=["a", "b"])
    plain = await oai.embeddings.create(model="m-1", input="a", encoding_format="float")
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert packed.data[0].embedding != packed.data[1].embedding
    assert plain.model_extra["grantgate_demo"] == mark()


async def test_moderations_flag_nothing_once_per_input(oai):
    answer = await oai.moderations.create(model="m-1", input=["a", "b"])
    assert [result.flagged for result in answer.results] == [False, False]


async def test_pictures_come_from_json_and_from_a_form(oai):
    made = await oai.images.generate(model="m-1", prompt="a dot", n=2)
    assert len(made.data) == 2
    picture = ("dot.png", io.BytesIO(b"\x89PNG"), "image/png")
    edited = await oai.images.edit(model="m-1", prompt="a dot", image=picture)
    assert edited.data[0].b64_json == made.data[0].b64_json
    assert edited.model_extra["grantgate_demo"] == mark()


async def test_speech_is_a_wav_file(oai):
    sound = await oai.audio.speech.create(model="m-1", voice="alloy", input="hi")
    assert (await sound.aread()).startswith(b"RIFF")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", ["transcriptions", "translations"])
async def test_a_recording_is_heard_through_a_form(oai, kind):
    resource = getattr(oai.audio, kind)
    recording = ("a.wav", io.BytesIO(b"12345"), "audio/wav")
    answer = await resource.create(model="m-1", file=recording)
    assert answer.text == "Hello from m-1! I heard 5 bytes."
    assert answer.model_extra["grantgate_demo"] == mark()


async def test_rerank_puts_the_document_that_shares_words_first(oai):
    asked = {"model": "m-1", "query": "red fox", "documents": ["blue whale", "a red fox"]}
    answer = await oai.post("/rerank", body=asked, cast_to=object)
    assert [result["index"] for result in answer["results"]] == [1, 0]
    assert answer["grantgate_demo"] == mark()


async def test_models_are_listed_and_found(oai):
    names = [model.id async for model in oai.models.list()]
    assert (await oai.models.retrieve(names[0])).id == names[0]


async def test_an_azure_deployment_path_names_the_model(base):
    azure = openai.AsyncAzureOpenAI(
        azure_endpoint=base, api_version="2024-10-21", api_key=CREDENTIAL
    )
    async with azure:
        answer = await azure.chat.completions.create(model="m-1", messages=SAYS_HI)
    assert answer.model_extra["grantgate_demo"] == mark()


async def test_messages_answer_whole_and_streamed(claude):
    asked = {"model": "m-1", "max_tokens": 64, "messages": SAYS_HI}
    whole = await claude.messages.create(**asked)
    assert whole.content[0].text == REPLY
    assert whole.model_extra["grantgate_demo"] == mark()
    async with claude.messages.stream(**asked) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert final.content[0].text == REPLY
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_tokens_of_messages_are_counted(claude):
    counted = await claude.messages.count_tokens(model="m-1", messages=SAYS_HI)
    assert counted.input_tokens == 2


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/v1/chat/completions", {}, {"model": "m", "messages": []}, 401),
        ("/v1/chat/completions", {"api-key": "k"}, {"messages": []}, 400),
        ("/v1/chat/completions", {"api-key": "k"}, [], 400),
        ("/v1/images/edits", {"api-key": "k"}, {"model": "m"}, 400),
        ("/v1/messages", {"x-api-key": "k"}, {"model": "m", "messages": []}, 400),
        ("/v1/messages", {"anthropic-version": "1"}, {"model": "m", "messages": []}, 401),
        ("/v1/nowhere", {"api-key": "k"}, {}, 404),
    ],
)
async def test_a_bad_request_is_refused(base, path, headers, body, status):
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(base + path, json=body) as answer,
    ):
        assert answer.status == status
