"""Every operation of OpenAI's Python SDK, with both of its classes.

AZURE is where AzureOpenAI goes, OPENAI the base URL of OpenAI; KEY signs in at either. They are the
simulator itself, or a gateway in front of it: what a user of the SDK sees is the same.
"""

import asyncio
import base64
import io
import json
import os
import sys
import time
import traceback

import openai

AZURE, OPENAI, KEY = os.environ["AZURE"], os.environ["OPENAI"], os.environ["KEY"]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def azure(kind=openai.AzureOpenAI):
    return kind(
        azure_endpoint=AZURE,
        api_key=KEY,
        api_version="2025-04-01-preview",
        max_retries=0,
        websocket_base_url=AZURE.replace("http", "ws", 1) + "/openai",
    )


def plain(kind=openai.OpenAI):
    return kind(
        base_url=OPENAI,
        api_key=KEY,
        max_retries=0,
        websocket_base_url=OPENAI.replace("http", "ws", 1),
    )


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"


def has(text, part):
    assert part in text, f"{part!r} is not in {text!r}"


SAID = "Hello from the Azure simulator. You said: "


@check
def embeddings_have_the_size_asked_for(client):
    made = client.embeddings.create(model="gpt-4o", input=["a", "b"], dimensions=8)
    same([len(one.embedding) for one in made.data], [8, 8])


@check
def files_are_kept_listed_read_and_deleted(client):
    made = client.files.create(file=("in.jsonl", b'{"a":1}\n'), purpose="batch")
    assert made.id in [file.id for file in client.files.list()]
    same(client.files.retrieve(made.id).filename, "in.jsonl")
    same(client.files.content(made.id).read(), b'{"a":1}\n')
    assert client.files.delete(made.id).deleted
    try:
        client.files.retrieve(made.id)
    except openai.NotFoundError as error:
        has(str(error), made.id)
    else:
        raise AssertionError("it is still there")


@check
def a_batch_runs_to_its_end(client):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": "one", "method": "POST", "url": "/chat/completions", "body": body}
    text = json.dumps(line).encode() + b"\n"
    file = client.files.create(file=("in.jsonl", text), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    seen = [batch.status]
    while batch.status not in ("completed", "failed"):
        batch = client.batches.retrieve(batch.id)
        seen.append(batch.status)
    same(seen, ["validating", "in_progress", "completed"])
    answer = json.loads(client.files.content(batch.output_file_id).text)
    same((answer["custom_id"], answer["response"]["status_code"]), ("one", 200))
    assert batch.id in [one.id for one in client.batches.list(limit=5)]


@check
def a_batch_can_be_cancelled(client):
    file = client.files.create(file=("in.jsonl", b"{}\n"), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    same(client.batches.cancel(batch.id).status, "cancelling")
    same(client.batches.retrieve(batch.id).status, "cancelled")


@check
def a_response_is_kept_and_its_parts_can_be_read(client):
    made = client.responses.create(model="gpt-4o", input="hello")
    same(made.output_text, SAID + "hello")
    same(client.responses.retrieve(made.id).output_text, made.output_text)
    items = client.responses.input_items.list(made.id)
    same(items.data[0].content[0].text, "hello")
    client.responses.delete(made.id)
    try:
        client.responses.retrieve(made.id)
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("it is still there")


@check
def a_response_streams_named_events(client):
    names, text = [], ""
    for event in client.responses.create(model="gpt-4o", input="one two", stream=True):
        names.append(event.type)
        text += event.delta if event.type == "response.output_text.delta" else ""
    same(text, SAID + "one two")
    same((names[0], names[-1]), ("response.created", "response.completed"))


@check
def a_response_in_the_background_can_be_cancelled(client):
    made = client.responses.create(model="gpt-4o", input="long", background=True)
    same(made.status, "queued")
    same(client.responses.cancel(made.id).status, "cancelled")


@check
def speech_is_bytes(client):
    speech = client.audio.speech.create(
        model="gpt-4o", voice="alloy", input="hello", response_format="wav"
    )
    assert speech.read().startswith(b"RIFF")


@check
def speech_streams_into_a_file(client):
    audio = b""
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o", voice="alloy", input="hello " * 2000
    ) as reply:
        for piece in reply.iter_bytes():
            audio += piece
    assert audio.startswith(b"ID3") and len(audio) > 100_000, len(audio)


@check
def a_large_recording_is_transcribed(client):
    audio = io.BytesIO(b"RIFF" + bytes(20 << 20))
    audio.name = "long.wav"
    text = client.audio.transcriptions.create(model="gpt-4o", file=audio).text
    same(text, f"You sent {(20 << 20) + 4} bytes in long.wav.")


@check
def a_recording_is_translated(client):
    text = client.audio.translations.create(
        model="gpt-4o", file=("a.mp3", b"ID3"), response_format="text"
    )
    same(text, "You sent 3 bytes in a.mp3.\n")


@check
def images_are_pictures(client):
    made = client.images.generate(model="gpt-4o", prompt="a cat", n=2)
    pictures = [base64.b64decode(image.b64_json) for image in made.data]
    same([picture[:4] for picture in pictures], [b"\x89PNG"] * 2)


@check
def an_image_is_edited(client):
    made = client.images.edit(model="gpt-4o", image=("a.png", b"\x89PNG"), prompt="more cats")
    same(base64.b64decode(made.data[0].b64_json)[:4], b"\x89PNG")


@check
def a_blocked_picture_says_why(client):
    try:
        client.images.generate(model="gpt-4o", prompt="[[blocked]]")
    except openai.BadRequestError as error:
        same(error.code, "content_policy_violation")
        same(error.body["inner_error"]["code"], "ResponsibleAIPolicyViolation")
    else:
        raise AssertionError("it was drawn")


@check
def an_assistant_answers_in_its_thread(client):
    beta = client.beta
    assistant = beta.assistants.create(model="gpt-4o", name="helper")
    same(beta.assistants.retrieve(assistant.id).name, "helper")
    thread = beta.threads.create()
    beta.threads.messages.create(thread.id, role="user", content="hi")
    run = beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    while run.status != "completed":
        run = beta.threads.runs.retrieve(run.id, thread_id=thread.id)
    messages = beta.threads.messages.list(thread.id, order="asc").data
    same([message.role for message in messages], ["user", "assistant"])
    assert beta.assistants.delete(assistant.id).deleted


@check
def models_are_listed(client):
    models = [model.id for model in client.models.list()]
    assert "gpt-4o" in models, models
    same(client.models.retrieve("gpt-4o").id, "gpt-4o")


@check
def a_session_speaks_in_both_directions(client):
    with client.realtime.connect(model="gpt-4o") as connection:
        same(connection.recv().type, "session.created")
        connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "hello there"}],
            }
        )
        connection.response.create()
        text, names = "", []
        for event in connection:
            names.append(event.type)
            if event.type.endswith("text.delta"):
                text += event.delta
            if event.type == "response.done":
                break
        same(text, SAID + "hello there")
        assert "response.created" in names, names


@check
def reasoning_models_take_max_tokens(client):
    if os.environ.get("DIRECT") or not isinstance(client, openai.AzureOpenAI):
        return  # Azure itself refuses it; OpenAI's class names no deployment in its path
    messages = [{"role": "user", "content": "one two three four five six"}]
    answer = client.chat.completions.create(model="o3-mini", messages=messages, max_tokens=3)
    same(answer.choices[0].finish_reason, "length")


@check
def an_asynchronous_client_can_do_it_too(client):
    async def run():
        make = azure if isinstance(client, openai.AzureOpenAI) else plain
        kind = (
            openai.AsyncAzureOpenAI
            if isinstance(client, openai.AzureOpenAI)
            else openai.AsyncOpenAI
        )
        async with make(kind) as own:
            response = await own.responses.create(model="gpt-4o", input="hi")
            return response.output_text

    same(asyncio.run(run()), SAID + "hi")


def videos_are_made():
    """OpenAI's class only: Azure's has no videos under a date."""
    client = plain()
    video = client.videos.create(model="gpt-4o", prompt="a cat")
    while video.status not in ("completed", "failed"):
        video = client.videos.retrieve(video.id)
        time.sleep(0)
    assert client.videos.download_content(video.id).read()


def main():
    failed = 0
    rows = [(check, client) for client in (azure(), plain()) for check in CHECKS]
    if os.environ.get("DIRECT"):
        rows.append((lambda _: videos_are_made(), plain()))
    for function, client in rows:
        name = f"{type(client).__name__} {function.__name__}"
        try:
            function(client)
            print("ok", name)
        except Exception:
            failed += 1
            print("FAILED", name)
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
