// Every operation of OpenAI's Node SDK, with both of its classes.
//
// AZURE is where AzureOpenAI goes, OPENAI the base URL of OpenAI; KEY signs in at either. They are
// the simulator itself, or a gateway in front of it: what a user of the SDK sees is the same. Both
// speak TLS, since the SDK's sessions know no other address than wss://.

import assert from "node:assert/strict";
import OpenAI, { AzureOpenAI, toFile } from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

import { all, refused, said } from "./common.mjs";

const { AZURE, OPENAI, KEY, DIRECT } = process.env;

const azure = (more) =>
  new AzureOpenAI({
    endpoint: AZURE,
    apiKey: KEY,
    apiVersion: "2025-04-01-preview",
    maxRetries: 0,
    ...more,
  });

const clients = {
  AzureOpenAI: azure(),
  OpenAI: new OpenAI({ baseURL: OPENAI, apiKey: KEY, maxRetries: 0 }),
};

const model = "gpt-4o";
const user = (content) => [{ role: "user", content }];

const bytes = async (reply) => Buffer.from(await reply.arrayBuffer());
const upload = (client, text, name = "in.jsonl") =>
  toFile(Buffer.from(text), name).then((file) => client.files.create({ file, purpose: "batch" }));
const batchOf = (client, file) =>
  client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });

const checks = {
  async "chat is answered"(client) {
    const answer = await client.chat.completions.create({ model, messages: user("hello") });
    assert.equal(answer.choices[0].message.content, said("hello"));
    assert.ok(answer.usage.total_tokens > 0);
  },

  async "chat streams with its usage"(client) {
    const chunks = await all(
      client.chat.completions.create({
        model,
        messages: user("one two"),
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    const texts = chunks.flatMap((chunk) => chunk.choices.map((one) => one.delta?.content ?? ""));
    assert.equal(texts.join(""), said("one two"));
    assert.deepEqual(chunks[0].choices, []);
    assert.ok(chunks[0].prompt_filter_results);
    assert.ok(chunks.at(-1).usage.total_tokens > 0);
  },

  async "the stream helper puts a chat together"(client) {
    const stream = client.chat.completions.stream({ model, messages: user("one two") });
    assert.equal(await stream.finalContent(), said("one two"));
  },

  async "a text is completed"(client) {
    const answer = await client.completions.create({ model, prompt: "hello" });
    assert.match(answer.choices[0].text, /hello/);
  },

  async "a completion streams"(client) {
    const chunks = await all(client.completions.create({ model, prompt: "one", stream: true }));
    assert.match(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join(""), /one/);
  },

  async "embeddings have the size asked for"(client) {
    // Without encoding_format the SDK asks for base64 and decodes it.
    for (const format of [{}, { encoding_format: "float" }]) {
      const made = await client.embeddings.create({
        model,
        input: ["a", "b"],
        dimensions: 8,
        ...format,
      });
      assert.deepEqual(made.data.map((one) => one.embedding.length), [8, 8]);
      const length = Math.hypot(...made.data[0].embedding);
      assert.ok(Math.abs(length - 1) < 1e-3, `${length}`);
    }
  },

  async "files are kept, listed, read and deleted"(client) {
    const made = await upload(client, '{"a":1}\n');
    const listed = await all(client.files.list());
    assert.ok(listed.some((file) => file.id === made.id));
    assert.equal((await client.files.retrieve(made.id)).filename, "in.jsonl");
    assert.equal(await (await client.files.content(made.id)).text(), '{"a":1}\n');
    assert.ok((await client.files.delete(made.id)).deleted);
    const error = await refused(OpenAI.NotFoundError, () => client.files.retrieve(made.id));
    assert.match(error.message, new RegExp(made.id));
  },

  async "a file's name may have any letters"(client) {
    const made = await upload(client, "{}\n", 'Bericht "März" 日本.jsonl');
    const kept = (await client.files.retrieve(made.id)).filename;
    assert.match(kept, /März.* 日本\.jsonl$/);
    await client.files.delete(made.id);
  },

  async "a batch runs to its end"(client) {
    const body = { model, messages: user("hi") };
    const line = { custom_id: "one", method: "POST", url: "/chat/completions", body };
    const file = await upload(client, JSON.stringify(line) + "\n");
    let batch = await batchOf(client, file);
    const seen = [batch.status];
    while (!["completed", "failed"].includes(batch.status)) {
      batch = await client.batches.retrieve(batch.id);
      seen.push(batch.status);
    }
    assert.deepEqual(seen, ["validating", "in_progress", "completed"]);
    const answer = JSON.parse(await (await client.files.content(batch.output_file_id)).text());
    assert.deepEqual([answer.custom_id, answer.response.status_code], ["one", 200]);
    const listed = await all(client.batches.list({ limit: 5 }));
    assert.ok(listed.some((one) => one.id === batch.id));
  },

  async "a batch can be cancelled"(client) {
    const batch = await batchOf(client, await upload(client, "{}\n"));
    assert.equal((await client.batches.cancel(batch.id)).status, "cancelling");
    assert.equal((await client.batches.retrieve(batch.id)).status, "cancelled");
  },

  async "a response is kept and its parts can be read"(client) {
    const made = await client.responses.create({ model, input: "hello" });
    assert.equal(made.output_text, said("hello"));
    const read = await client.responses.retrieve(made.id);
    assert.equal(read.output[0].content[0].text, made.output_text);
    const items = await all(client.responses.inputItems.list(made.id));
    assert.equal(items[0].content[0].text, "hello");
    await client.responses.delete(made.id);
    await refused(OpenAI.NotFoundError, () => client.responses.retrieve(made.id));
  },

  async "a response streams named events"(client) {
    const events = await all(client.responses.create({ model, input: "one two", stream: true }));
    const deltas = events.filter((event) => event.type === "response.output_text.delta");
    assert.equal(deltas.map((event) => event.delta).join(""), said("one two"));
    const ends = [events[0].type, events.at(-1).type];
    assert.deepEqual(ends, ["response.created", "response.completed"]);
  },

  async "a response in the background can be cancelled"(client) {
    const made = await client.responses.create({ model, input: "long", background: true });
    assert.equal(made.status, "queued");
    assert.equal((await client.responses.cancel(made.id)).status, "cancelled");
  },

  async "speech is bytes"(client) {
    const speech = await client.audio.speech.create({
      model,
      voice: "alloy",
      input: "hello",
      response_format: "wav",
    });
    assert.equal((await bytes(speech)).subarray(0, 4).toString(), "RIFF");
  },

  async "speech comes in pieces"(client) {
    const input = "hello ".repeat(2000);
    const speech = await client.audio.speech.create({ model, voice: "alloy", input });
    const pieces = [];
    for await (const piece of speech.body) pieces.push(piece);
    const audio = Buffer.concat(pieces);
    assert.equal(audio.subarray(0, 3).toString(), "ID3");
    assert.ok(audio.length > 100_000 && pieces.length > 1, `${audio.length} ${pieces.length}`);
  },

  async "a large recording is transcribed"(client) {
    const audio = Buffer.alloc((20 << 20) + 4);
    audio.write("RIFF");
    const file = await toFile(audio, "long.wav");
    const { text } = await client.audio.transcriptions.create({ model, file });
    assert.equal(text, `You sent ${audio.length} bytes in long.wav.`);
  },

  async "a recording is translated"(client) {
    const file = await toFile(Buffer.from("ID3"), "a.mp3");
    const text = await client.audio.translations.create({ model, file, response_format: "text" });
    assert.equal(text, "You sent 3 bytes in a.mp3.\n");
  },

  async "images are pictures"(client) {
    const made = await client.images.generate({ model, prompt: "a cat", n: 2 });
    const start = (image) => Buffer.from(image.b64_json, "base64").toString("latin1", 1, 4);
    const starts = made.data.map(start);
    assert.deepEqual(starts, ["PNG", "PNG"]);
  },

  async "an image is edited"(client) {
    // The SDK puts the deployment into the path of a form only where the client names one.
    if (client instanceof AzureOpenAI) client = azure({ deployment: model });
    const image = await toFile(Buffer.from("\x89PNG", "latin1"), "a.png", { type: "image/png" });
    const made = await client.images.edit({ model, image, prompt: "more cats" });
    const picture = Buffer.from(made.data[0].b64_json, "base64");
    assert.equal(picture.toString("latin1", 1, 4), "PNG");
  },

  async "a blocked picture says why"(client) {
    const error = await refused(OpenAI.BadRequestError, () =>
      client.images.generate({ model, prompt: "[[blocked]]" }),
    );
    assert.equal(error.code, "content_policy_violation");
    assert.equal(error.error.inner_error.code, "ResponsibleAIPolicyViolation");
  },

  async "an assistant answers in its thread"(client) {
    const { assistants, threads } = client.beta;
    const assistant = await assistants.create({ model, name: "helper" });
    assert.equal((await assistants.retrieve(assistant.id)).name, "helper");
    const thread = await threads.create();
    await threads.messages.create(thread.id, { role: "user", content: "hi" });
    let run = await threads.runs.create(thread.id, { assistant_id: assistant.id });
    while (run.status !== "completed")
      run = await threads.runs.retrieve(run.id, { thread_id: thread.id });
    const messages = await all(threads.messages.list(thread.id, { order: "asc" }));
    assert.deepEqual(messages.map((message) => message.role), ["user", "assistant"]);
    assert.ok((await assistants.delete(assistant.id)).deleted);
  },

  async "models are listed"(client) {
    const models = (await all(client.models.list())).map((one) => one.id);
    assert.ok(models.includes(model), models.join(" "));
    assert.equal((await client.models.retrieve(model)).id, model);
  },

  async "a session speaks in both directions"(client) {
    const session =
      client instanceof AzureOpenAI
        ? await OpenAIRealtimeWS.azure(client, { deploymentName: model })
        : await OpenAIRealtimeWS.create(client, { model });
    const names = [];
    let text = "";
    await new Promise((resolve, reject) => {
      session.on("error", reject);
      session.socket.on("close", (code) => reject(new Error(`closed with ${code}: ${names}`)));
      session.on("event", (event) => {
        names.push(event.type);
        if (event.type === "session.created") {
          const content = [{ type: "input_text", text: "hello there" }];
          const item = { type: "message", role: "user", content };
          session.send({ type: "conversation.item.create", item });
          session.send({ type: "response.create" });
        }
        if (event.type.endsWith("text.delta")) text += event.delta;
        if (event.type === "response.done") resolve();
      });
    });
    const closed = new Promise((resolve) => session.socket.once("close", resolve));
    session.close({ code: 1000, reason: "enough" });
    assert.equal(await closed, 1000);
    assert.equal(text, said("hello there"));
    assert.equal(names[0], "session.created");
    assert.ok(names.includes("response.created"), names.join(" "));
  },

  async "request ids are Azure's"(client) {
    const answer = await client.chat.completions.create({ model, messages: user("hi") });
    assert.match(answer._request_id, /^[0-9a-f-]{36}$/);
    const error = await refused(OpenAI.NotFoundError, () => client.files.retrieve("file-none"));
    assert.match(error.headers.get("apim-request-id"), /^[0-9a-f-]{36}$/);
  },

  async "a call can be given up"(client) {
    const controller = new AbortController();
    const call = client.chat.completions.create(
      { model, messages: user("[[fault-hang]]") },
      { signal: controller.signal },
    );
    setImmediate(() => controller.abort());
    await refused(OpenAI.APIUserAbortError, () => call);
  },
};

const others = {
  async "OpenAI: videos are made"() {
    const client = clients.OpenAI;
    let video = await client.videos.create({ model, prompt: "a cat" });
    while (!["completed", "failed"].includes(video.status))
      video = await client.videos.retrieve(video.id);
    assert.ok((await bytes(await client.videos.downloadContent(video.id))).length > 0);
  },
};
if (!DIRECT)
  // Azure itself refuses it; OpenAI's class names no deployment in its path.
  others["AzureOpenAI: reasoning models take max_tokens"] = async () => {
    const answer = await clients.AzureOpenAI.chat.completions.create({
      model: "o3-mini",
      messages: user("one two three four five six"),
      max_tokens: 3,
    });
    assert.equal(answer.choices[0].finish_reason, "length");
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

for (const [kind, client] of Object.entries(clients))
  for (const [name, check] of Object.entries(checks))
    await run(`${kind}: ${name}`, () => check(client));
for (const [name, check] of Object.entries(others)) await run(name, check);
process.exit(failed ? 1 : 0);
