// One question to a gateway that refuses it: which error each client raises.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const messages = [{ role: "user", content: "hi" }];
const model = process.env.CORVUS_MODEL;
const apiKey = process.env.CORVUS_KEY;
const api = process.env.CORVUS_API;
const asked = {
  chat: () => new OpenAI({ baseURL: `${api}/v1`, apiKey }).chat.completions.create({ model, messages }),
  responses: () => new OpenAI({ baseURL: `${api}/v1`, apiKey }).responses.create({ model, input: "hi" }),
  messages: () =>
    new Anthropic({ baseURL: api, apiKey }).messages.create({ model, max_tokens: 64, messages }),
};
try {
  await asked[process.env.CORVUS_DIALECT]();
} catch (error) {
  console.log(JSON.stringify({ kind: error.constructor.name, status: error.status }));
}
