// Reads the first chunk of a long stream and leaves it, then goes on living until its input ends.
import { client, model, tell } from "./sdk.mjs";

const stream = await client.chat.completions.create({
  model, stream: true,
  messages: [{ role: "user", content: "[[tokens=100000 itl=1000]] go on" }],
});
for await (const chunk of stream) {
  tell({ first: chunk.id });
  break;
}
process.stdin.resume();
