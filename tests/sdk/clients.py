"""Other Python clients than OpenAI's own, over TLS: what their users see through the gateway.

GATEWAY is its address, and SSL_CERT_FILE holds the authority that they are to trust. A prompt with
`[[fault-...]]` makes the model endpoint behind the gateway fail like that (docs/simulator.md).
"""

import asyncio
import os
import sys
import traceback

import anthropic
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_openai import AzureChatOpenAI, ChatOpenAI, OpenAIEmbeddings
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.azure import AzureProvider
from pydantic_ai.providers.openai import OpenAIProvider
from semantic_kernel.connectors.ai.open_ai import (
    AzureChatCompletion,
    AzureChatPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory

GATEWAY = os.environ["GATEWAY"]
KEY = "my-key"
SIGNED = {"apikey": KEY}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"


def has(text, part):
    assert part in text, f"{part!r} is not in {text!r}"


def said(prompt):
    """What the simulated model makes of a prompt."""
    return f"Hello from the Azure simulator. You said: {prompt}"


def refused(kind, call):
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} but {answer!r}")


def claude(retries=0, headers=SIGNED, path="claude"):
    return anthropic.Anthropic(
        base_url=f"{GATEWAY}/{path}",
        api_key="unused",
        default_headers=headers,
        max_retries=retries,
    )


def ask(prompt, client=None, **more):
    messages = [{"role": "user", "content": prompt}]
    make = (client or claude()).messages.create
    return make(model="gpt-4o", max_tokens=64, messages=messages, **more)


@check
def anthropic_gets_a_message():
    message = ask("hello there", system="be brief")
    same(message.content[0].text, said("hello there"))
    same((message.role, message.stop_reason), ("assistant", "end_turn"))
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0, message.usage


@check
def anthropic_streams_a_message():
    messages = [{"role": "user", "content": "one two three"}]
    make = claude().messages.stream
    with make(model="gpt-4o", max_tokens=64, messages=messages) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    same(text, said("one two three"))
    same(message.content[0].text, text)
    assert message.usage.output_tokens > 0, message.usage


@check
def anthropic_counts_tokens():
    messages = [{"role": "user", "content": "one two three"}]
    counted = claude().messages.count_tokens(model="gpt-4o", messages=messages)
    assert 0 < counted.input_tokens < 100, counted


@check
def anthropic_tells_its_errors_apart():
    for prompt, kind, status in [
        ("[[fault-429]]", anthropic.RateLimitError, 429),
        ("[[fault-500]]", anthropic.InternalServerError, 500),
        ("[[fault-context-length]]", anthropic.BadRequestError, 400),
    ]:
        error = refused(kind, lambda prompt=prompt: ask(prompt))
        same(error.status_code, status)
        same(error.body["type"], "error")
    error = refused(anthropic.AuthenticationError, lambda: ask("hi", claude(headers={})))
    same((error.status_code, error.body["error"]["type"]), (401, "authentication_error"))


@check
def anthropic_is_told_where_there_are_no_batches():
    batches = claude().messages.batches
    params = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
    requests = [{"custom_id": "one", "params": params}]
    error = refused(anthropic.NotFoundError, lambda: batches.create(requests=requests))
    same(error.body["error"]["type"], "not_found_error")
    assert "one by one" in str(error), error


@check
def anthropic_keeps_batches_at_claude():
    batches = claude(path="foundry").messages.batches
    params = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
    made = batches.create(requests=[{"custom_id": "one", "params": params}])
    same(batches.retrieve(made.id).id, made.id)
    same(batches.cancel(made.id).id, made.id)


@check
def anthropic_tries_again_by_itself():
    same(ask("[[fault-429-ms-711-once]]", claude(retries=2)).role, "assistant")


def azure_of_langchain(**more):
    return AzureChatOpenAI(
        azure_endpoint=GATEWAY,
        api_key=KEY,
        api_version="2024-10-21",
        azure_deployment="gpt-4o",
        max_retries=0,
        **more,
    )


def openai_of_langchain(**more):
    return ChatOpenAI(
        base_url=f"{GATEWAY}/v1",
        api_key="unused",
        default_headers=SIGNED,
        model="gpt-4o",
        max_retries=0,
        **more,
    )


@check
def langchain_is_answered_by_azure():
    answer = azure_of_langchain().invoke("hello there")
    same(answer.content, said("hello there"))
    assert answer.usage_metadata["total_tokens"] > 0, answer.usage_metadata


@check
def langchain_is_answered_by_openai():
    same(openai_of_langchain().invoke("hello there").content, said("hello there"))


@check
def langchain_streams_with_its_tokens():
    whole = AIMessageChunk(content="")
    for chunk in azure_of_langchain(stream_usage=True).stream("one two three"):
        whole += chunk
    same(whole.content, said("one two three"))
    assert whole.usage_metadata["output_tokens"] > 0, whole.usage_metadata


@check
def langchain_runs_many_at_a_time():
    answers = azure_of_langchain().batch([f"number {n}" for n in range(8)])
    same([answer.content for answer in answers], [said(f"number {n}") for n in range(8)])


@check
def langchain_offers_tools():
    @tool
    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    bound = azure_of_langchain().bind_tools([weather])
    assert isinstance(bound.invoke("hello").content, str)


@check
def langchain_embeds_texts():
    embeddings = OpenAIEmbeddings(
        base_url=f"{GATEWAY}/v1",
        api_key="unused",
        default_headers=SIGNED,
        model="gpt-4o",
        check_embedding_ctx_length=False,
        dimensions=8,
    )
    same([len(one) for one in embeddings.embed_documents(["a", "b"])], [8, 8])


def agents():
    azure = AzureProvider(azure_endpoint=GATEWAY, api_version="2024-10-21", api_key=KEY)
    client = AsyncOpenAI(base_url=f"{GATEWAY}/v1", api_key="unused", default_headers=SIGNED)
    openai = OpenAIProvider(openai_client=client)
    return {
        "azure": Agent(OpenAIChatModel("gpt-4o", provider=azure)),
        "openai": Agent(OpenAIChatModel("gpt-4o", provider=openai)),
        "responses": Agent(OpenAIResponsesModel("gpt-4o", provider=openai)),
        "anthropic": Agent(
            AnthropicModel("gpt-4o", provider=AnthropicProvider(anthropic_client=claude_async()))
        ),
    }


def claude_async():
    return anthropic.AsyncAnthropic(
        base_url=f"{GATEWAY}/claude", api_key="unused", default_headers=SIGNED, max_retries=0
    )


@check
def pydantic_ai_is_answered_in_every_dialect():
    for name, agent in agents().items():
        result = agent.run_sync("hello there")
        has(result.output, "hello there")
        assert result.usage.output_tokens > 0, (name, result.usage)


@check
def pydantic_ai_streams():
    for name in ["azure", "openai", "anthropic"]:
        result = agents()[name].run_stream_sync("one two three")
        text = "".join(result.stream_text(delta=True))
        same(text, said("one two three"))


@check
def pydantic_ai_says_which_status_it_was():
    from pydantic_ai.exceptions import ModelHTTPError

    error = refused(ModelHTTPError, lambda: agents()["azure"].run_sync("[[fault-context-length]]"))
    same(error.status_code, 400)


def kernel():
    return AzureChatCompletion(
        deployment_name="gpt-4o", endpoint=GATEWAY, api_key=KEY, api_version="2024-10-21"
    )


def history(prompt):
    made = ChatHistory(system_message="be brief")
    made.add_user_message(prompt)
    return made


@check
def semantic_kernel_is_answered():
    settings = AzureChatPromptExecutionSettings(max_tokens=64)
    call = kernel().get_chat_message_content(history("hello there"), settings)
    answer = asyncio.run(call)
    same(answer.content, said("hello there"))
    assert answer.metadata["usage"].completion_tokens > 0, answer.metadata


@check
def semantic_kernel_streams():
    async def read():
        settings = AzureChatPromptExecutionSettings()
        call = kernel().get_streaming_chat_message_content(history("one two three"), settings)
        return "".join([str(piece) async for piece in call])

    same(asyncio.run(read()), said("one two three"))


def main():
    failed = 0
    for run in CHECKS:
        try:
            run()
            print(f"ok {run.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED {run.__name__}\n{traceback.format_exc()}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
