"""OpenAI's Python SDK against the gateway: each check is named for what a user of the SDK sees.

GATEWAY is the gateway's address. A prompt with `[[fault-...]]` makes the model endpoint behind it
fail like that (docs/simulator.md).
"""

import asyncio
import os
import sys
import time
import traceback

import openai

GATEWAY = os.environ["GATEWAY"]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Flavour:
    """One client class, and how its users sign in and name a model."""

    def __init__(self, name, make, make_async, wait_ms):
        self.name = name
        self.make = make
        self.make_async = make_async
        self.wait_ms = wait_ms  # a fault that happens once has a name of its own for each class

    def chat(self, prompt, retries=0, key="my-key", **more):
        client = self.make(key, retries)
        messages = [{"role": "user", "content": prompt}]
        return client.chat.completions.create(model="gpt-4o", messages=messages, **more)


def openai_client(kind):
    def make(key, retries):
        return kind(
            base_url=f"{GATEWAY}/v1",
            api_key="unused",
            default_headers={"apikey": key},
            max_retries=retries,
        )

    return make


def azure_client(kind):
    def make(key, retries):
        return kind(
            azure_endpoint=GATEWAY,
            api_key=key,
            api_version="2024-10-21",
            max_retries=retries,
        )

    return make


FLAVOURS = [
    Flavour("OpenAI", openai_client(openai.OpenAI), openai_client(openai.AsyncOpenAI), 701),
    Flavour(
        "AzureOpenAI", azure_client(openai.AzureOpenAI), azure_client(openai.AsyncAzureOpenAI), 702
    ),
]


def refused(kind, call):
    try:
        answer = call()
    except kind as error:
        assert type(error) is kind, type(error)
        return error
    raise AssertionError(f"no {kind.__name__} but {answer!r}")


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"


def said(prompt):
    """What the simulated model makes of a prompt."""
    return f"Hello from the Azure simulator. You said: {prompt}"


def has(text, part):
    assert part in text, f"{part!r} is not in {text!r}"


@check
def chat_is_answered(flavour):
    answer = flavour.chat("hello there")
    same(answer.choices[0].message.content, said("hello there"))
    same(answer.choices[0].finish_reason, "stop")
    same(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)


@check
def headers_of_gateway_and_azure_are_there(flavour):
    client = flavour.make("my-key", 0)
    messages = [{"role": "user", "content": "hi"}]
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=messages)
    same(raw.headers["x-kong-llm-model"], "azure/gpt-4o")
    for name in ["apim-request-id", "x-ratelimit-remaining-tokens", "x-kong-request-id"]:
        assert raw.headers.get(name), name
    same(raw.parse().choices[0].message.content, said("hi"))


@check
def a_stream_arrives_in_pieces(flavour):
    stream = flavour.chat("one two three", stream=True, stream_options={"include_usage": True})
    pieces, usage = [], None
    for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    same("".join(pieces), said("one two three"))
    assert len(pieces) > 3, pieces
    assert usage.total_tokens > 0


@check
def an_asynchronous_client_streams_too(flavour):
    async def run():
        async with flavour.make_async("my-key", 0) as client:
            messages = [{"role": "user", "content": "one two"}]
            stream = await client.chat.completions.create(
                model="gpt-4o", messages=messages, stream=True
            )
            text = ""
            async for chunk in stream:
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
            return text

    same(asyncio.run(run()), said("one two"))


@check
def events_of_the_asynchronous_filter_pass(flavour):
    # Its choices have no `delta`.
    stream = flavour.chat("[[fault-async-filter]]", stream=True)
    chunks = list(stream)
    odd = [c for chunk in chunks for c in chunk.choices if getattr(c, "delta", None) is None]
    same(len(odd), 2)


@check
def a_wrong_key_is_an_authentication_error(flavour):
    error = refused(openai.AuthenticationError, lambda: flavour.chat("hi", key="wrong"))
    same(error.status_code, 401)
    has(str(error), "Unauthorized")


@check
def a_refusal_of_azure_is_an_authentication_error(flavour):
    error = refused(openai.AuthenticationError, lambda: flavour.chat("[[fault-permission]]"))
    same((error.status_code, error.code), (401, "PermissionDenied"))


@check
def an_unknown_path_is_not_found(flavour):
    client = flavour.make("my-key", 0)
    error = refused(openai.NotFoundError, client.models.list)
    same(error.status_code, 404)
    has(str(error), "no Route matched with those values")


@check
def a_missing_deployment_is_not_found(flavour):
    error = refused(openai.NotFoundError, lambda: flavour.chat("[[fault-404]]"))
    same(error.status_code, 404)
    assert error.code, error.body


@check
def a_rate_limit_is_a_rate_limit_error_with_its_wait(flavour):
    error = refused(openai.RateLimitError, lambda: flavour.chat("[[fault-429-7]]"))
    same((error.status_code, error.response.headers["retry-after"]), (429, "7"))
    has(error.message, "retry after 7 seconds")


@check
def a_rate_limit_of_a_stream_is_no_stream(flavour):
    error = refused(openai.RateLimitError, lambda: flavour.chat("[[fault-429-7]]", stream=True))
    same(error.response.headers["retry-after"], "7")


@check
def the_wait_that_azure_asks_for_is_kept(flavour):
    # Longer than any first wait of the SDK's own.
    start = time.monotonic()
    answer = flavour.chat(f"[[fault-429-ms-{flavour.wait_ms}-once]]", retries=1)
    assert answer.choices[0].message.content
    waited_ms = (time.monotonic() - start) * 1000
    assert waited_ms >= flavour.wait_ms, waited_ms


@check
def an_error_of_the_model_is_an_internal_server_error(flavour):
    error = refused(openai.InternalServerError, lambda: flavour.chat("[[fault-500]]"))
    same(error.status_code, 500)
    assert error.message and error.body, error


@check
def a_page_of_the_front_door_is_an_internal_server_error(flavour):
    error = refused(openai.InternalServerError, lambda: flavour.chat("[[fault-503-html]]"))
    same(error.status_code, 503)


@check
def a_connection_that_breaks_is_an_internal_server_error(flavour):
    error = refused(openai.InternalServerError, lambda: flavour.chat("[[fault-drop]]"))
    same(error.status_code, 502)


@check
def a_blocked_prompt_says_what_blocked_it(flavour):
    error = refused(openai.BadRequestError, lambda: flavour.chat("[[fault-content-filter]]"))
    same((error.status_code, error.code, error.param), (400, "content_filter", "prompt"))
    result = error.body["innererror"]["content_filter_result"]
    same(result["hate"]["filtered"], True)


@check
def a_refusal_of_the_gateway_has_a_message(flavour):
    client = flavour.make("my-key", 0)
    error = refused(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="gpt-4o", messages=[]),
    )
    same(error.status_code, 400)
    has(error.message, "request body doesn't contain valid prompts")


@check
def a_stream_that_breaks_raises(flavour):
    stream = flavour.chat("one two three four [[fault-cut-stream]]", stream=True)
    chunks = []

    def read():
        chunks.extend(stream)

    refused(openai.APIError, read)


@check
def an_error_event_raises_with_its_message(flavour):
    stream = flavour.chat("[[fault-error-event]]", stream=True)
    error = refused(openai.APIError, lambda: list(stream))
    has(error.message, "The server had an error")


def another_model_is_refused_by_openai():
    client = FLAVOURS[0].make("my-key", 0)
    messages = [{"role": "user", "content": "hi"}]
    error = refused(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="gpt-5", messages=messages),
    )
    has(error.message, "cannot use own model - must be: gpt-4o")


def another_deployment_is_a_path_of_azure():
    client = FLAVOURS[1].make("my-key", 0)
    messages = [{"role": "user", "content": "hi"}]
    answer = client.chat.completions.with_raw_response.create(
        model="gpt-4.1-mini", messages=messages
    )
    same(answer.headers["x-ms-deployment-name"], "gpt-4.1-mini")
    error = refused(
        openai.NotFoundError,
        lambda: client.chat.completions.create(model="no-such", messages=messages),
    )
    same(error.code, "DeploymentNotFound")


def main():
    runs = [(f"{f.name}: {c.__name__}", lambda c=c, f=f: c(f)) for f in FLAVOURS for c in CHECKS]
    for function in [another_model_is_refused_by_openai, another_deployment_is_a_path_of_azure]:
        runs.append((function.__name__, function))
    failed = 0
    for name, run in runs:
        try:
            run()
            print(f"ok {name}")
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
