// Every call that applications make; test_api_openai_node.py compares the findings.
import { client, model, tell } from "./sdk.mjs";

const messages = [{ role: "user", content: "Hello world" }];

const whole = await client.chat.completions.create({ model, messages, max_tokens: 8 });
tell({ what: "chat", text: whole.choices[0].message.content, finish: whole.choices[0].finish_reason,
       usage: whole.usage, request_id: whole._request_id });

let text = "";
const ids = new Set();
let usages = 0;
let finishes = [];
for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 8,
                                                                 stream: true })) {
  ids.add(chunk.id);
  if (chunk.usage) usages++;
  text += chunk.choices[0].delta.content ?? "";
  if (chunk.choices[0].finish_reason) finishes.push(chunk.choices[0].finish_reason);
}
tell({ what: "stream", text, ids: ids.size, usages, finishes });

let last;
for await (const chunk of await client.chat.completions.create({
  model, messages, max_tokens: 8, stream: true, stream_options: { include_usage: true } })) last = chunk;
tell({ what: "usage", choices: last.choices, usage: last.usage });

let slow = "";
for await (const chunk of await client.chat.completions.create({
  model, max_tokens: 4, stream: true,
  messages: [{ role: "user", content: "[[ttft=350000]] Hello" }] })) slow += chunk.choices[0].delta.content ?? "";
tell({ what: "slow", text: slow });

const runner = client.chat.completions.stream({ model, messages });
const final = await runner.finalChatCompletion();
tell({ what: "helper", finish: final.choices[0].finish_reason });

const embedded = await client.embeddings.create({ model, input: ["one", "two"] });
tell({ what: "embeddings", count: embedded.data.length, size: embedded.data[0].embedding.length });

const names = [];
for await (const m of client.models.list()) names.push(m.id);
const one = await client.models.retrieve(model).catch((error) => ({ id: error.status }));
tell({ what: "models", names, one: one.id });

const kinds = [];
for await (const event of await client.responses.create({ model, input: "Hello", max_output_tokens: 5,
                                                          stream: true })) kinds.push(event.type);
tell({ what: "responses", first: kinds[0], last: kinds.at(-1) });
