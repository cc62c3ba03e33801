/* What the load generator and the far end share: time, sockets, growing buffers. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL
#define READ_BYTES (256 * 1024)
#define EVENTS_AT_ONCE 512

static inline int64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * SECOND_NS + at.tv_nsec;
}

static inline void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

/* Ends with whoever started us, takes all the descriptors there are, sleeps to the microsecond. */
static inline void prepare_process(void) {
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1UL);
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static inline void set_option(int fd, int level, int name, int value) {
    setsockopt(fd, level, name, &value, sizeof value);
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return at;
}

/* Waits until `until_ns` (-1: for ever) at the most. */
static inline int wait_events(int poll, struct epoll_event *events, int64_t until_ns) {
    struct timespec left = {0, 0};
    if (until_ns >= 0) {
        int64_t ns = until_ns - now_ns();
        if (ns > 0) left = (struct timespec){ns / SECOND_NS, ns % SECOND_NS};
    }
    int found = epoll_pwait2(poll, events, EVENTS_AT_ONCE, until_ns < 0 ? NULL : &left, NULL);
    if (found < 0 && errno != EINTR) die("epoll_pwait2");
    return found < 0 ? 0 : found;
}

struct text {
    char *data;
    size_t size, room;
};

static inline void text_add(struct text *text, const char *data, size_t size) {
    if (text->size + size + 1 > text->room) {
        text->room = (text->size + size + 1) * 2;
        text->data = realloc(text->data, text->room);
        if (!text->data) die("memory");
    }
    memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = 0;
}

__attribute__((format(printf, 2, 3))) static inline void text_print(struct text *text,
                                                                   const char *form, ...) {
    va_list args;
    char *made;
    va_start(args, form);
    int size = vasprintf(&made, form, args);
    va_end(args);
    if (size < 0) die("memory");
    text_add(text, made, (size_t)size);
    free(made);
}

/* The value of a header in a head that ends with a blank line, or NULL. `name` is lower case and
 * ends with the colon. */
static inline const char *header(const char *head, const char *end, const char *name) {
    size_t size = strlen(name);
    for (const char *line = head; line < end;) {
        if ((size_t)(end - line) > size && strncasecmp(line, name, size) == 0) {
            line += size;
            while (*line == ' ') line++;
            return line;
        }
        line = memchr(line, '\n', (size_t)(end - line));
        if (!line) break;
        line++;
    }
    return NULL;
}

#endif
