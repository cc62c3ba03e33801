// Vercel's `ai` with a provider of its own for each dialect: it runs the tool and asks again.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = `${process.env.CORVUS_API}/v1`;
const apiKey = process.env.CORVUS_KEY;
const name = process.env.CORVUS_MODEL;
const models = {
  chat: () => createOpenAI({ baseURL, apiKey }).chat(name),
  compatible: () => createOpenAICompatible({ name: "corvus", baseURL, apiKey })(name),
  messages: () => createAnthropic({ baseURL, apiKey })(name),
  responses: () => createOpenAI({ baseURL, apiKey })(name),
};
// Without it the second turn names what the first one stored upstream: nothing is stored there.
const providerOptions = { openai: { store: false } };
const result = streamText({
  providerOptions,
  model: models[process.env.CORVUS_DIALECT](),
  prompt: "run echo corvus",
  stopWhen: stepCountIs(3),
  tools: {
    shell: tool({
      inputSchema: z.object({ command: z.string() }),
      execute: async ({ command }) => `ran ${command}`,
    }),
  },
  onError: ({ error }) => {
    console.error(error);
    process.exitCode = 1;
  },
});
let text = "";
for await (const piece of result.textStream) text += piece;
console.log(JSON.stringify({ text, output: (await result.totalUsage).outputTokens }));
