// Other Node clients than OpenAI's own, over TLS: the AI SDK and Anthropic's.
//
// GATEWAY is the gateway's address, and NODE_EXTRA_CA_CERTS holds the authority to trust. A prompt
// with `[[fault-...]]` makes the model endpoint behind it fail like that (docs/simulator.md).

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { createAzure } from "@ai-sdk/azure";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, jsonSchema, streamText, tool } from "ai";

const GATEWAY = process.env.GATEWAY;
const headers = { apikey: "my-key" };

const said = (prompt) => `Hello from the Azure simulator. You said: ${prompt}`;

const azure = createAzure({
  baseURL: `${GATEWAY}/openai`,
  apiKey: "my-key",
  apiVersion: "2024-10-21",
  useDeploymentBasedUrls: true,
});
const undated = createAzure({ baseURL: `${GATEWAY}/openai/v1`, apiKey: "my-key" });
const openai = createOpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: "unused", headers });
const claude = new Anthropic({
  baseURL: `${GATEWAY}/claude`,
  apiKey: "unused",
  defaultHeaders: headers,
  maxRetries: 0,
});

const models = {
  "azure, dated": azure.chat("gpt-4o"),
  "azure, responses": undated.responses("gpt-4o"),
  openai: openai.chat("gpt-4o"),
};

const checks = {};
for (const [name, model] of Object.entries(models)) {
  checks[`the AI SDK is answered: ${name}`] = async () => {
    const answer = await generateText({ model, prompt: "hello there", maxRetries: 0 });
    assert.match(answer.text, /hello there/);
    assert.ok(answer.usage.outputTokens > 0, JSON.stringify(answer.usage));
  };
  checks[`the AI SDK streams: ${name}`] = async () => {
    const result = streamText({ model, prompt: "one two three", maxRetries: 0 });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    assert.match(text, /one two three/);
    assert.ok((await result.usage).outputTokens > 0);
  };
}

checks["the AI SDK offers tools"] = async () => {
  const inputSchema = jsonSchema({ type: "object", properties: { city: { type: "string" } } });
  const tools = { weather: tool({ description: "The weather.", inputSchema }) };
  const model = models["azure, dated"];
  const answer = await generateText({ model, prompt: "hello", tools, maxRetries: 0 });
  assert.equal(answer.text, said("hello"));
};

checks["the AI SDK embeds texts"] = async () => {
  const model = openai.embedding("gpt-4o");
  const made = await embedMany({ model, values: ["a", "b"], maxRetries: 0 });
  assert.equal(made.embeddings.length, 2);
};

checks["the AI SDK says which status it was"] = async () => {
  const ask = generateText({ model: models.openai, prompt: "[[fault-429]]", maxRetries: 0 });
  await assert.rejects(ask, (error) => error.statusCode === 429);
};

checks["the AI SDK tries again by itself"] = async () => {
  const prompt = "[[fault-429-ms-712-once]]";
  const answer = await generateText({ model: models.openai, prompt, maxRetries: 2 });
  assert.ok(answer.text.length > 0);
};

const asked = { model: "gpt-4o", max_tokens: 64, messages: [{ role: "user", content: "hi you" }] };

checks["Anthropic's SDK gets a message"] = async () => {
  const message = await claude.messages.create(asked);
  assert.equal(message.content[0].text, said("hi you"));
  assert.equal(message.stop_reason, "end_turn");
};

checks["Anthropic's SDK streams a message"] = async () => {
  const message = await claude.messages.stream(asked).finalMessage();
  assert.equal(message.content[0].text, said("hi you"));
};

checks["Anthropic's SDK tells the gateway's errors apart"] = async () => {
  const stranger = claude.withOptions({ defaultHeaders: { apikey: "wrong" } });
  const error = await stranger.messages.create(asked).catch((error) => error);
  assert.equal(error.constructor, Anthropic.AuthenticationError, error.stack);
  assert.equal(error.error.error.type, "authentication_error");
};

checks["Anthropic's SDK is told where there are no batches"] = async () => {
  const requests = [{ custom_id: "one", params: asked }];
  const error = await claude.messages.batches.create({ requests }).catch((error) => error);
  assert.equal(error.constructor, Anthropic.NotFoundError, error.stack);
  assert.match(error.message, /one by one/);
};

checks["Anthropic's SDK keeps batches at Claude"] = async () => {
  const { batches } = claude.withOptions({ baseURL: `${GATEWAY}/foundry` }).messages;
  const params = { ...asked, model: "claude" };
  const made = await batches.create({ requests: [{ custom_id: "one", params }] });
  assert.equal((await batches.retrieve(made.id)).id, made.id);
  assert.equal((await batches.cancel(made.id)).id, made.id);
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
