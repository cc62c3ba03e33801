/* The load's words, and the request that they make: `before`, a secret, `after`, `body`. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "common.h"

struct options {
    int port, connections, events, slow, tell, stall, cut, timeline;
    double seconds, spread_s, rate, drain_s;
    const char *path, *body, *keys, *terminal;
};

static struct options options = {.connections = 16, .seconds = 5, .drain_s = 30,
                                 .path = "/v1/chat/completions"};
static struct text before, after, body, key_text;
static char **keys;
static size_t key_count = 1;

static void read_file(const char *path, struct text *into) {
    char part[65536];
    size_t size;
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    while ((size = fread(part, 1, sizeof part, file)) > 0) text_add(into, part, size);
    fclose(file);
}

static void read_keys(const char *path) {
    read_file(path, &key_text);
    size_t room = 0;
    key_count = 0;
    for (char *line = strtok(key_text.data, "\n"); line; line = strtok(NULL, "\n")) {
        if (key_count == room) {
            room = room ? room * 2 : 1024;
            keys = realloc(keys, room * sizeof *keys);
            if (!keys) die("memory");
        }
        keys[key_count++] = line;
    }
    if (!key_count) die("no keys");
}

static void read_word(const char *word) {
    static const struct {
        const char *name;
        char kind;
        void *into;
    } WORDS[] = {{"port=", 'i', &options.port},         {"connections=", 'i', &options.connections},
                 {"events=", 'i', &options.events},     {"slow=", 'i', &options.slow},
                 {"tell=", 'i', &options.tell},         {"stall=", 'i', &options.stall},
                 {"timeline=", 'i', &options.timeline}, {"cut=", 'i', &options.cut},           {"seconds=", 'd', &options.seconds},
                 {"spread_s=", 'd', &options.spread_s}, {"rate=", 'd', &options.rate},
                 {"drain_s=", 'd', &options.drain_s},   {"path=", 's', &options.path},
                 {"body=", 's', &options.body},         {"keys=", 's', &options.keys},
                 {"terminal=", 's', &options.terminal}};
    if (strncmp(word, "header=", 7) == 0) {
        text_print(&after, "%s\r\n", word + 7);
        return;
    }
    for (size_t at = 0; at < sizeof WORDS / sizeof *WORDS; at++) {
        size_t size = strlen(WORDS[at].name);
        if (strncmp(word, WORDS[at].name, size) != 0) continue;
        if (WORDS[at].kind == 'i') *(int *)WORDS[at].into = atoi(word + size);
        if (WORDS[at].kind == 'd') *(double *)WORDS[at].into = atof(word + size);
        if (WORDS[at].kind == 's') *(const char **)WORDS[at].into = word + size;
        return;
    }
    fprintf(stderr, "load: no option %s\n", word);
    exit(2);
}

static void read_options(int count, char **words) {
    text_print(&after, "\r\n");
    for (int at = 1; at < count; at++) read_word(words[at]);
    if (options.body) read_file(options.body, &body);
    if (options.keys) read_keys(options.keys);
    text_print(&before, "%s %s HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer ",
               options.body ? "POST" : "GET", options.path);
    text_print(&after, "content-type: application/json\r\ncontent-length: %zu\r\n\r\n", body.size);
}

#endif
