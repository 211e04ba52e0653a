// OpenAI's Node SDK against the gateway: each check is named for what a user of the SDK sees.
//
// GATEWAY is the gateway's address. A prompt with `[[fault-...]]` makes the model endpoint behind
// it fail like that (docs/simulator.md).

import assert from "node:assert/strict";
import OpenAI, { AzureOpenAI } from "openai";

import { all, refused, said } from "./common.mjs";

const GATEWAY = process.env.GATEWAY;

// One client class each, and how its users sign in. A fault that happens once has a name of its
// own for each class, hence the wait.
const flavours = [
  {
    name: "OpenAI",
    waitMs: 703,
    make: (key, maxRetries) =>
      new OpenAI({
        baseURL: `${GATEWAY}/v1`,
        apiKey: "unused",
        defaultHeaders: { apikey: key },
        maxRetries,
      }),
  },
  {
    name: "AzureOpenAI",
    waitMs: 704,
    make: (key, maxRetries) =>
      new AzureOpenAI({ endpoint: GATEWAY, apiKey: key, apiVersion: "2024-10-21", maxRetries }),
  },
];

function chat(flavour, prompt, { retries = 0, key = "my-key", model = "gpt-4o", ...more } = {}) {
  const messages = [{ role: "user", content: prompt }];
  return flavour.make(key, retries).chat.completions.create({ model, messages, ...more });
}

const texts = (chunks) =>
  chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta?.content)).filter(Boolean);

const checks = {
  async "chat is answered"(flavour) {
    const answer = await chat(flavour, "hello there");
    assert.equal(answer.choices[0].message.content, said("hello there"));
    assert.ok(answer.usage.total_tokens > 0);
  },

  async "headers of gateway and Azure are there"(flavour) {
    const { response } = await chat(flavour, "hi").withResponse();
    assert.equal(response.headers.get("x-kong-llm-model"), "azure/gpt-4o");
    for (const name of ["apim-request-id", "x-ratelimit-remaining-tokens", "x-kong-request-id"])
      assert.ok(response.headers.get(name), name);
  },

  async "a stream arrives in pieces"(flavour) {
    const chunks = await all(
      chat(flavour, "one two three", { stream: true, stream_options: { include_usage: true } }),
    );
    assert.equal(texts(chunks).join(""), said("one two three"));
    assert.ok(texts(chunks).length > 3);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
  },

  async "a stream can be given up"(flavour) {
    const stream = await chat(flavour, "one two [[fault-slow-stream-60000]]", { stream: true });
    for await (const chunk of stream) {
      assert.ok(chunk);
      break;
    }
    assert.ok(stream.controller.signal.aborted);
  },

  async "events of the asynchronous filter pass"(flavour) {
    const chunks = await all(chat(flavour, "[[fault-async-filter]]", { stream: true }));
    const odd = chunks.flatMap((chunk) => chunk.choices).filter((choice) => !choice.delta);
    assert.equal(odd.length, 2);
  },

  async "a wrong key is an authentication error"(flavour) {
    const error = await refused(OpenAI.AuthenticationError, () =>
      chat(flavour, "hi", { key: "wrong" }),
    );
    assert.equal(error.status, 401);
  },

  async "a refusal of Azure is an authentication error"(flavour) {
    const error = await refused(OpenAI.AuthenticationError, () =>
      chat(flavour, "[[fault-permission]]"),
    );
    assert.deepEqual([error.status, error.code], [401, "PermissionDenied"]);
  },

  async "an unknown path is not found"(flavour) {
    const error = await refused(OpenAI.NotFoundError, () =>
      flavour.make("my-key", 0).models.list(),
    );
    assert.equal(error.status, 404);
  },

  async "a missing deployment is not found"(flavour) {
    const error = await refused(OpenAI.NotFoundError, () => chat(flavour, "[[fault-404]]"));
    assert.equal(error.status, 404);
    assert.ok(error.code, error.message);
  },

  async "a rate limit is a rate limit error with its wait"(flavour) {
    const error = await refused(OpenAI.RateLimitError, () => chat(flavour, "[[fault-429-7]]"));
    assert.deepEqual([error.status, error.headers.get("retry-after")], [429, "7"]);
    assert.match(error.message, /retry after 7 seconds/);
  },

  async "a rate limit of a stream is no stream"(flavour) {
    const error = await refused(OpenAI.RateLimitError, () =>
      chat(flavour, "[[fault-429-7]]", { stream: true }),
    );
    assert.equal(error.headers.get("retry-after"), "7");
  },

  async "the wait that Azure asks for is kept"(flavour) {
    // Longer than any first wait of the SDK's own.
    const start = performance.now();
    const prompt = `[[fault-429-ms-${flavour.waitMs}-once]]`;
    const answer = await chat(flavour, prompt, { retries: 1 });
    assert.ok(answer.choices[0].message.content);
    const waited = performance.now() - start;
    assert.ok(waited >= flavour.waitMs - 1, `${waited} ms`);
  },

  async "an error of the model is an internal server error"(flavour) {
    const error = await refused(OpenAI.InternalServerError, () => chat(flavour, "[[fault-500]]"));
    assert.equal(error.status, 500);
    assert.ok(error.error, error.message);
  },

  async "a page of the front door is an internal server error"(flavour) {
    const error = await refused(OpenAI.InternalServerError, () =>
      chat(flavour, "[[fault-503-html]]"),
    );
    assert.equal(error.status, 503);
  },

  async "a connection that breaks is an internal server error"(flavour) {
    const error = await refused(OpenAI.InternalServerError, () => chat(flavour, "[[fault-drop]]"));
    assert.equal(error.status, 502);
  },

  async "a blocked prompt says what blocked it"(flavour) {
    const error = await refused(OpenAI.BadRequestError, () =>
      chat(flavour, "[[fault-content-filter]]"),
    );
    assert.deepEqual([error.status, error.code, error.param], [400, "content_filter", "prompt"]);
    assert.equal(error.error.innererror.content_filter_result.hate.filtered, true);
  },

  async "a refusal of the gateway has a message"(flavour) {
    const error = await refused(OpenAI.BadRequestError, () =>
      flavour.make("my-key", 0).chat.completions.create({ model: "gpt-4o", messages: [] }),
    );
    assert.equal(error.status, 400);
    assert.match(error.message, /request body doesn't contain valid prompts/);
  },

  async "a stream that breaks raises"(flavour) {
    const prompt = "one two three four [[fault-cut-stream]]";
    await refused(OpenAI.APIError, () => all(chat(flavour, prompt, { stream: true })));
  },

  async "an error event raises with its message"(flavour) {
    const error = await refused(OpenAI.APIError, () =>
      all(chat(flavour, "[[fault-error-event]]", { stream: true })),
    );
    assert.match(error.message, /The server had an error/);
  },
};

const others = {
  async "another model is refused by OpenAI"() {
    const error = await refused(OpenAI.BadRequestError, () =>
      chat(flavours[0], "hi", { model: "gpt-5" }),
    );
    assert.match(error.message, /cannot use own model - must be: gpt-4o/);
  },

  async "another deployment is a path of AzureOpenAI"() {
    const { response } = await chat(flavours[1], "hi", { model: "gpt-4.1-mini" }).withResponse();
    assert.equal(response.headers.get("x-ms-deployment-name"), "gpt-4.1-mini");
    const error = await refused(OpenAI.NotFoundError, () =>
      chat(flavours[1], "hi", { model: "no-such" }),
    );
    assert.equal(error.code, "DeploymentNotFound");
  },
};

let failed = 0;
async function run(name, check) {
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}

for (const flavour of flavours)
  for (const [name, check] of Object.entries(checks))
    await run(`${flavour.name}: ${name}`, () => check(flavour));
for (const [name, check] of Object.entries(others)) await run(name, check);
process.exit(failed ? 1 : 0);
