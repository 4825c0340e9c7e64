// How failures look to the SDK. Arguments: URL, model, what is wrong.
import { client, model, OpenAI, tell } from "./sdk.mjs";

const messages = [{ role: "user", content: "Hello world" }];

function describe(error) {
  return { name: error.constructor.name, is_api_error: error instanceof OpenAI.APIError,
           status: error.status ?? null, code: error.code ?? null, message: error.message,
           retry_after: error.headers?.get?.("retry-after") ?? null };
}

const chunks = [];
try {
  if (process.argv[4] === "stream") {
    for await (const c of await client.chat.completions.create({ model, messages, max_tokens: 9,
                                                                 stream: true })) chunks.push(c);
  } else {
    await client.chat.completions.create({ model, messages });
  }
  tell({ error: null, chunks: chunks.length });
} catch (error) {
  tell({ error: describe(error), chunks: chunks.length });
}
