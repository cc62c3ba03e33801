// Anthropic's client on messages: two streamed turns with a tool between them.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.env.CORVUS_API, apiKey: process.env.CORVUS_KEY });
const model = process.env.CORVUS_MODEL;
const input_schema = {
  type: "object", properties: { command: { type: "string" } }, required: ["command"],
};
const tools = [{ name: "shell", description: "a shell", input_schema }];
const messages = [{ role: "user", content: "run echo corvus" }];
const ask = () =>
  client.messages.stream({ model, max_tokens: 2048, messages, tools }).finalMessage();

const first = await ask();
messages.push({ role: "assistant", content: first.content });
messages.push({
  role: "user",
  content: first.content
    .filter((block) => block.type === "tool_use")
    .map((call) => (
      { type: "tool_result", tool_use_id: call.id, content: `ran ${call.input.command}` }
    )),
});
const second = await ask();
const text = second.content.map((block) => block.text ?? "").join("");
console.log(JSON.stringify({ text, output: second.usage.output_tokens }));
