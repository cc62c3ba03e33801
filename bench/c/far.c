/* The far end of a measurement: a provider that costs next to nothing.
 *
 *     far PORT        prints the port that it listens on (0: a free one); SIGTERM prints counters
 *
 * Any POST is answered, by path: `.../messages` in Anthropic's form, all else as chat; as a stream
 * where the body has `"stream": true`. A request's text may steer its answer, near its beginning:
 *
 *     [far events=64 gap_us=10000 event_bytes=300 plain_bytes=1024 first_us=0]
 *
 * `gap_us` lies between events (0: as fast as the reader takes them), `first_us` before the head.
 * Nothing of a body is parsed but that. Usage is true: 1,000 tokens of input, 600 of them cached,
 * and as much output as the text can be: 32 tokens an event of 300 bytes, 256 in a plain answer of
 * 1 KB. A gateway that compares the two finds nothing to remark.
 *
 * One thread; timers in a heap; every write leaves at once (TCP_NODELAY).
 */
#include "answers.h"
#include "common.h"

#define HEAD_MAX 65536
#define STEER_BYTES 16384 /* how far into a body the steering text is looked for */
#define FLAG_BYTES 15     /* of `"stream": true` */
#define PIECES 64

enum phase { READING, PLAIN, HEAD, EVENTS, LAST };

struct peer {
    int fd;
    bool blocked, gone;
    enum phase phase;
    struct text in;       /* a head that is not whole yet, or what came too early */
    int64_t body_left;    /* -1: chunked */
    char tail[FLAG_BYTES];
    int tail_size;
    bool in_body, streams;
    size_t seen;          /* of this body */
    struct asked asked;
    struct script *script;
    size_t offset;        /* into the piece that is being written */
    int owed, left;       /* events that are due, and that are not */
    int64_t due_ns;
    int timer;            /* place in the heap, -1: none */
};

static struct peer **timers;
static int timer_count, timer_room, poll_fd;
static volatile sig_atomic_t stopping;
static uint64_t connections, requests, streams_begun, streams_whole, aborted, body_bytes;
static char buffer[READ_BYTES];

/* -- timers ----------------------------------------------------------------------------------- */

static void timer_place(int at, struct peer *peer) {
    timers[at] = peer;
    peer->timer = at;
}

static void timer_sift(int at, struct peer *peer) {
    while (at > 0 && timers[(at - 1) / 2]->due_ns > peer->due_ns) {
        timer_place(at, timers[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        int child = 2 * at + 1;
        if (child >= timer_count) break;
        if (child + 1 < timer_count && timers[child + 1]->due_ns < timers[child]->due_ns) child++;
        if (timers[child]->due_ns >= peer->due_ns) break;
        timer_place(at, timers[child]);
        at = child;
    }
    timer_place(at, peer);
}

static void timer_set(struct peer *peer, int64_t due_ns) {
    peer->due_ns = due_ns;
    if (peer->timer < 0) {
        if (timer_count == timer_room) {
            timer_room = timer_room ? timer_room * 2 : 1024;
            timers = realloc(timers, (size_t)timer_room * sizeof *timers);
            if (!timers) die("memory");
        }
        peer->timer = timer_count++;
    }
    timer_sift(peer->timer, peer);
}

static void timer_drop(struct peer *peer) {
    int at = peer->timer;
    if (at < 0) return;
    peer->timer = -1;
    struct peer *moved = timers[--timer_count];
    if (moved != peer) timer_sift(at, moved);
}

/* -- writing ---------------------------------------------------------------------------------- */

static void watch(struct peer *peer, bool blocked) {
    if (peer->blocked == blocked) return;
    peer->blocked = blocked;
    struct epoll_event want = {EPOLLIN | EPOLLRDHUP | (blocked ? EPOLLOUT : 0), {.ptr = peer}};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, peer->fd, &want);
}

static void end_peer(struct peer *peer) {
    if (peer->gone) return;
    peer->gone = true;
    if (peer->phase != READING) aborted++;
    timer_drop(peer);
    close(peer->fd);
}

/* The pieces that may leave now, as one write. */
static int pieces(struct peer *peer, struct iovec *vector) {
    struct script *script = peer->script;
    int count = 0, owed = peer->owed;
    enum phase phase = peer->phase;
    if (phase == PLAIN) {
        vector[count++] = (struct iovec){script->plain.data, script->plain.size};
        phase = READING;
    }
    if (phase == HEAD) {
        vector[count++] = (struct iovec){script->head.data, script->head.size};
        phase = EVENTS;
    }
    if (phase == EVENTS) {
        for (; owed > 0 && count < PIECES - 1; owed--)
            vector[count++] = (struct iovec){script->event.data, script->event.size};
        if (owed == 0 && peer->left == 0) phase = LAST;
    }
    if (phase == LAST) vector[count++] = (struct iovec){script->last.data, script->last.size};
    if (count) {
        vector[0].iov_base = (char *)vector[0].iov_base + peer->offset;
        vector[0].iov_len -= peer->offset;
    }
    return count;
}

/* Takes note of what was written, piece after piece. */
static void written(struct peer *peer, const struct iovec *vector, int count, size_t size) {
    for (int at = 0; at < count; at++) {
        if (size < vector[at].iov_len) {
            peer->offset = size + (at == 0 ? peer->offset : 0);
            return;
        }
        size -= vector[at].iov_len;
        peer->offset = at == 0 ? 0 : peer->offset;
        if (peer->phase == HEAD) {
            peer->phase = EVENTS;
        } else if (peer->phase == EVENTS && peer->owed > 0) {
            peer->owed--;
        } else {
            if (peer->phase != PLAIN) streams_whole++;
            peer->phase = READING;
        }
    }
}

static void take(struct peer *peer, const char *data, size_t size);

static void pump(struct peer *peer) {
    struct iovec vector[PIECES];
    while (peer->phase != READING && peer->script) {
        int count = pieces(peer, vector);
        if (!count) break;
        ssize_t size = writev(peer->fd, vector, count);
        if (size < 0 && errno == EAGAIN) {
            watch(peer, true);
            return;
        }
        if (size < 0) {
            end_peer(peer);
            return;
        }
        written(peer, vector, count, (size_t)size);
    }
    watch(peer, false);
    if (peer->phase == READING && peer->in.size) {
        struct text early = peer->in;
        peer->in = (struct text){0};
        take(peer, early.data, early.size);
        free(early.data);
    }
}

/* The next event's time, or several, have come. */
static void tick(struct peer *peer, int64_t at_ns) {
    if (peer->phase == READING) {
        timer_drop(peer);
        return;
    }
    if (!peer->script) { /* the wait before the head is over */
        peer->script = script_for(&peer->asked);
        peer->due_ns = at_ns;
        peer->owed = 1;
    } else {
        peer->owed++;
        peer->left--;
    }
    if (!peer->asked.gap_us) {
        peer->owed += peer->left;
        peer->left = 0;
    }
    if (peer->phase != PLAIN && peer->left > 0)
        timer_set(peer, peer->due_ns + peer->asked.gap_us * 1000LL);
    else
        timer_drop(peer);
    pump(peer);
}

/* -- reading ---------------------------------------------------------------------------------- */

static void steer(struct peer *peer, const char *data, size_t size) {
    static const struct {
        const char *name;
        size_t at;
    } WORDS[] = {{"events=", offsetof(struct asked, events)},
                 {"gap_us=", offsetof(struct asked, gap_us)},
                 {"event_bytes=", offsetof(struct asked, event_bytes)},
                 {"plain_bytes=", offsetof(struct asked, plain_bytes)},
                 {"first_us=", offsetof(struct asked, first_us)}};
    char text[256] = {0};
    const char *found = memmem(data, size < STEER_BYTES ? size : STEER_BYTES, "[far ", 5);
    if (!found) return;
    size_t left = (size_t)(data + size - found);
    memcpy(text, found, left < sizeof text - 1 ? left : sizeof text - 1);
    char *end = strchr(text, ']');
    if (!end) return;
    *end = 0;
    for (size_t at = 0; at < sizeof WORDS / sizeof *WORDS; at++) {
        for (char *word = text; (word = strstr(word, WORDS[at].name)); word++)
            if (word[-1] == ' ')
                *(int *)((char *)&peer->asked + WORDS[at].at) =
                    atoi(word + strlen(WORDS[at].name));
    }
    if (peer->asked.events < 1) peer->asked.events = 1;
}

static void begin_answer(struct peer *peer) {
    requests++;
    streams_begun += peer->streams;
    peer->in_body = false;
    peer->phase = peer->streams ? HEAD : PLAIN;
    peer->script = NULL;
    peer->offset = 0;
    peer->owed = 0;
    peer->left = peer->asked.events - 1;
    if (peer->asked.first_us)
        timer_set(peer, now_ns() + peer->asked.first_us * 1000LL);
    else
        tick(peer, now_ns());
}

/* Looks for the one flag that matters, also across the border of two reads. */
static void look(struct peer *peer, const char *data, size_t size) {
    body_bytes += size;
    if (peer->seen < STEER_BYTES) steer(peer, data, size);
    peer->seen += size;
    if (peer->streams) return;
    char joint[2 * FLAG_BYTES];
    size_t head = size < FLAG_BYTES ? size : FLAG_BYTES;
    memcpy(joint, peer->tail, (size_t)peer->tail_size);
    memcpy(joint + peer->tail_size, data, head);
    size_t joined = (size_t)peer->tail_size + head;
    peer->streams = memmem(joint, joined, "\"stream\":true", 13) ||
                    memmem(joint, joined, "\"stream\": true", 14) ||
                    memmem(data, size, "\"stream\":true", 13) ||
                    memmem(data, size, "\"stream\": true", 14);
    if (size >= FLAG_BYTES) {
        memcpy(peer->tail, data + size - FLAG_BYTES, FLAG_BYTES);
        peer->tail_size = FLAG_BYTES;
    } else {
        size_t keep = joined < FLAG_BYTES ? joined : FLAG_BYTES;
        memmove(peer->tail, joint + joined - keep, keep);
        peer->tail_size = (int)keep;
    }
}

static bool chunked_end(struct peer *peer, const char *data, size_t size) {
    char joint[FLAG_BYTES + 5];
    size_t part = size < 5 ? size : 5;
    memcpy(joint, peer->tail, (size_t)peer->tail_size);
    memcpy(joint + peer->tail_size, data + size - part, part);
    size_t joined = (size_t)peer->tail_size + part;
    return joined >= 5 && memcmp(joint + joined - 5, "0\r\n\r\n", 5) == 0;
}

static void take_body(struct peer *peer, const char *data, size_t size) {
    if (peer->body_left < 0) {
        bool ends = chunked_end(peer, data, size);
        look(peer, data, size);
        if (ends) begin_answer(peer);
        return;
    }
    size_t ours = size < (size_t)peer->body_left ? size : (size_t)peer->body_left;
    if (ours) look(peer, data, ours);
    peer->body_left -= (int64_t)ours;
    if (peer->body_left > 0) return;
    if (size > ours) text_add(&peer->in, data + ours, size - ours);
    begin_answer(peer);
}

static void take(struct peer *peer, const char *data, size_t size) {
    if (peer->phase != READING) { /* the next request, too early */
        text_add(&peer->in, data, size);
        return;
    }
    if (peer->in_body) {
        take_body(peer, data, size);
        return;
    }
    text_add(&peer->in, data, size);
    char *end = memmem(peer->in.data, peer->in.size, "\r\n\r\n", 4);
    if (!end) {
        if (peer->in.size > HEAD_MAX) end_peer(peer);
        return;
    }
    struct text whole = peer->in;
    peer->in = (struct text){0};
    end += 4;
    memset(&peer->asked, 0, sizeof peer->asked); /* compared as bytes */
    peer->asked.events = 64;
    peer->asked.gap_us = 10000;
    peer->asked.event_bytes = 300;
    peer->asked.plain_bytes = 1024;
    char *line = memchr(whole.data, '\r', whole.size);
    peer->asked.messages = memmem(whole.data, (size_t)(line - whole.data), "/messages", 9) != NULL;
    const char *length = header(whole.data, end, "content-length:");
    const char *coding = header(whole.data, end, "transfer-encoding:");
    peer->body_left = length ? atoll(length) : coding ? -1 : 0;
    peer->streams = false;
    peer->seen = 0;
    peer->tail_size = 0;
    peer->in_body = true;
    size_t rest = whole.size - (size_t)(end - whole.data);
    if (rest || peer->body_left == 0) take_body(peer, end, rest);
    free(whole.data);
}

static void readable(struct peer *peer) {
    while (!peer->gone) {
        ssize_t size = recv(peer->fd, buffer, sizeof buffer, 0);
        if (size > 0) take(peer, buffer, (size_t)size);
        if (size == 0 || (size < 0 && errno != EAGAIN)) end_peer(peer);
        if (size < (ssize_t)sizeof buffer) return;
    }
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        connections++;
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        struct peer *peer = calloc(1, sizeof *peer);
        if (!peer) die("memory");
        peer->fd = fd;
        peer->timer = -1;
        struct epoll_event want = {EPOLLIN | EPOLLRDHUP, {.ptr = peer}};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &want)) die("epoll_ctl");
    }
}

static void on_stop(int number) {
    (void)number;
    stopping = 1;
}

int main(int count, char **words) {
    struct epoll_event events[EVENTS_AT_ONCE];
    if (count != 2) return fprintf(stderr, "usage: far PORT\n"), 2;
    prepare_process();
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = loopback(atoi(words[1]));
    socklen_t size = sizeof at;
    set_option(listener, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 8192)) die("listen");
    getsockname(listener, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event want = {EPOLLIN, {.ptr = NULL}};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &want);
    while (!stopping) {
        int found = wait_events(poll_fd, events, timer_count ? timers[0]->due_ns : -1);
        for (int at = 0; at < found; at++) {
            struct peer *peer = events[at].data.ptr;
            if (!peer) {
                accept_all(listener);
                continue;
            }
            if (events[at].events & EPOLLOUT) pump(peer);
            if (!peer->gone && events[at].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                readable(peer);
            if (peer->gone) { /* one event a peer and turn: nothing else points to it */
                free(peer->in.data);
                free(peer);
            }
        }
        for (int64_t now = now_ns(); timer_count && timers[0]->due_ns <= now;) {
            struct peer *peer = timers[0];
            tick(peer, now);
            if (peer->gone) {
                free(peer->in.data);
                free(peer);
            }
        }
    }
    printf("{\"connections\":%lu,\"requests\":%lu,\"streams\":%lu,\"whole\":%lu,\"aborted\":%lu,"
           "\"body_bytes\":%lu}\n",
           connections, requests, streams_begun, streams_whole, aborted, body_bytes);
    return 0;
}
