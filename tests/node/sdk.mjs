// The OpenAI SDK from $BUSBAR_NODE (a folder with node_modules), and one line of JSON for each finding.
import { createRequire } from "node:module";

const require = createRequire(process.env.BUSBAR_NODE + "/");
export const { default: OpenAI } = require("openai");

export const model = process.argv[3];
export const client = new OpenAI({
  baseURL: process.argv[2] + "/v1",
  apiKey: "sk-test",
  maxRetries: 0,
  timeout: 20000,
});

export function tell(finding) {
  console.log(JSON.stringify(finding));
}
