// OpenAI's client on responses: two streamed turns with a tool between them.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.CORVUS_API}/v1`, apiKey: process.env.CORVUS_KEY });
const model = process.env.CORVUS_MODEL;
const parameters = {
  type: "object", properties: { command: { type: "string" } }, required: ["command"],
  additionalProperties: false,
};
const tools = [{ type: "function", name: "shell", parameters, strict: true }];
const input = [{ role: "user", content: "run echo corvus" }];

const first = await client.responses.stream({ model, input, tools, store: false }).finalResponse();
input.push(...first.output);
for (const call of first.output.filter((item) => item.type === "function_call")) {
  const { command } = JSON.parse(call.arguments);
  input.push({ type: "function_call_output", call_id: call.call_id, output: `ran ${command}` });
}
const second = await client.responses.stream({ model, input, tools, store: false }).finalResponse();
console.log(JSON.stringify({ text: second.output_text, output: second.usage.output_tokens }));
