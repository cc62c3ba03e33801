/* The far end's prepared answers: each kind is made once, with its HTTP framing. */
#ifndef BENCH_ANSWERS_H
#define BENCH_ANSWERS_H

#include "common.h"

/* Of a paced event: about what the text of 300 bytes is; a plain answer of 1 KB has 256. */
#define EVENT_TOKENS 32

struct asked {
    int events, gap_us, event_bytes, plain_bytes, first_us;
    bool messages;
};

/* The prepared bytes of one kind of answer, HTTP framing included. */
struct script {
    struct asked asked;
    struct text plain, head, event, last;
    struct script *next;
};

static struct script *scripts;

static void chunk(struct text *into, const struct text *body) {
    text_print(into, "%zx\r\n", body->size);
    text_add(into, body->data, body->size);
    text_add(into, "\r\n", 2);
}

/* `before`, words, `after`: `size` bytes in all where that is possible. */
static struct text padded(const char *before, const char *after, int size) {
    static const char WORD[] = "tide ";
    struct text made = {0};
    int room = size - (int)strlen(before) - (int)strlen(after);
    text_add(&made, before, strlen(before));
    for (int at = 0; at < (room < 1 ? 1 : room); at++) text_add(&made, &WORD[at % 5], 1);
    text_add(&made, after, strlen(after));
    return made;
}

static void plain_answer(struct script *script, const char *before, const char *after) {
    struct text body = padded(before, after, script->asked.plain_bytes);
    text_print(&script->plain,
               "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
               "content-length: %zu\r\n\r\n",
               body.size);
    text_add(&script->plain, body.data, body.size);
    free(body.data);
}

static void add_event(struct text *into, const char *form, int number) {
    struct text event = {0};
    text_print(&event, form, number, number);
    chunk(into, &event);
    free(event.data);
}

#define CHAT_CHUNK \
    "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1790000000,\"model\":\"bench\","

static void chat_script(struct script *script) {
    struct text last = {0}, event;
    event = padded(CHAT_CHUNK "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
                   "\"},\"finish_reason\":null}]}\n\n", script->asked.event_bytes);
    chunk(&script->event, &event);
    free(event.data);
    text_print(&last, CHAT_CHUNK "\"choices\":[{\"index\":0,\"delta\":{},"
                                 "\"finish_reason\":\"stop\"}]}\n\n");
    chunk(&script->last, &last);
    last.size = 0;
    text_print(&last,
               CHAT_CHUNK "\"choices\":[],\"usage\":{\"prompt_tokens\":1000,"
                          "\"completion_tokens\":%d,\"total_tokens\":%d,"
                          "\"prompt_tokens_details\":{\"cached_tokens\":600}}}\n\n",
               script->asked.events * EVENT_TOKENS, 1000 + script->asked.events * EVENT_TOKENS);
    chunk(&script->last, &last);
    free(last.data);
    add_event(&script->last, "data: [DONE]\n\n", 0);
    plain_answer(script,
                 "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\","
                 "\"created\":1790000000,\"model\":\"bench\",\"usage\":{\"prompt_tokens\":1000,"
                 "\"completion_tokens\":256,\"total_tokens\":1256,"
                 "\"prompt_tokens_details\":{\"cached_tokens\":600}},"
                 "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
                 "\"},\"finish_reason\":\"stop\"}]}");
}

#define MESSAGE_USAGE                                                            \
    "\"usage\":{\"input_tokens\":400,\"output_tokens\":%d,"                      \
    "\"cache_read_input_tokens\":600,\"cache_creation_input_tokens\":0}"

static void messages_script(struct script *script) {
    struct text event = padded("event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
                               "\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"",
                               "\"}}\n\n", script->asked.event_bytes);
    chunk(&script->event, &event);
    free(event.data);
    add_event(&script->head,
              "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{"
              "\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\","
              "\"model\":\"bench\",\"stop_sequence\":null,\"content\":[],\"stop_reason\":null,"
              MESSAGE_USAGE "}}\n\n", 1);
    add_event(&script->head,
              "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
              "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n", 0);
    add_event(&script->last,
              "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
              0);
    add_event(&script->last,
              "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
              "\"stop_reason\":\"end_turn\",\"stop_sequence\":null}," MESSAGE_USAGE "}\n\n",
              script->asked.events * EVENT_TOKENS);
    add_event(&script->last, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", 0);
    plain_answer(script,
                 "{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\","
                 "\"model\":\"bench\",\"stop_sequence\":null,\"stop_reason\":\"end_turn\","
                 "\"usage\":{\"input_tokens\":400,\"output_tokens\":256,"
                 "\"cache_read_input_tokens\":600,\"cache_creation_input_tokens\":0},"
                 "\"content\":[{\"type\":\"text\",\"text\":\"",
                 "\"}]}");
}

static struct script *script_for(const struct asked *asked) {
    for (struct script *known = scripts; known; known = known->next)
        if (memcmp(&known->asked, asked, sizeof *asked) == 0) return known;
    struct script *made = calloc(1, sizeof *made);
    if (!made) die("memory");
    memcpy(&made->asked, asked, sizeof *asked);
    text_print(&made->head,
               "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
               "x-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n");
    (asked->messages ? messages_script : chat_script)(made);
    text_add(&made->last, "0\r\n\r\n", 5);
    made->next = scripts;
    return scripts = made;
}

#endif
