// OpenAI's client on chat completions: two streamed turns with a tool between them.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.CORVUS_API}/v1`, apiKey: process.env.CORVUS_KEY });
const model = process.env.CORVUS_MODEL;
const parameters = {
  type: "object", properties: { command: { type: "string" } }, required: ["command"],
};
const tools = [{ type: "function", function: { name: "shell", parameters } }];
const messages = [{ role: "user", content: "run echo corvus" }];

const first = client.chat.completions.stream({ model, messages, tools });
const told = await first.finalMessage();
messages.push(told);
for (const call of told.tool_calls) {
  const { command } = JSON.parse(call.function.arguments);
  messages.push({ role: "tool", tool_call_id: call.id, content: `ran ${command}` });
}
const stream = await client.chat.completions.create({
  model, messages, tools, stream: true, stream_options: { include_usage: true },
});
let text = "";
let usage = null;
for await (const part of stream) {
  text += part.choices[0]?.delta.content ?? "";
  usage = part.usage ?? usage;
}
console.log(JSON.stringify({ text, output: usage.completion_tokens }));
