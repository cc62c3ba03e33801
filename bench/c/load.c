/* The load of a measurement: requests over keep-alive connections, and whether each was answered.
 *
 *     load port=N path=/v1/chat/completions body=FILE connections=16 seconds=5 …
 *
 * prints one JSON object when all answers have ended. Words (`name=value`, defaults in `options`):
 *
 *   keys=FILE     secrets, one a line, used in turn       header=TEXT   one more header (again:
 *                 from any of them on                                   more)
 *   terminal=TEXT the line that ends a stream              events=N      `data:` lines it has at
 *                                                                        least
 *   rate=R        R requests a second at fixed times (0: each connection as fast as it is answered)
 *   spread_s=S    time over which the connections begin    tell=1        prints `all` when each has
 *                                                                        had a first byte of body
 *   slow=B        reads B bytes a second                   stall=1       reads nothing at all
 *   timeline=1    counts the whole answers of each 100 ms
 *   cut=1         does not wait for what is under way at the end
 *
 * Rule 1: an answer counts when it is whole: status 200, the end of the body, and in a stream the
 *         terminal line and every event.
 * Rule 2: with a rate, time runs from the moment at which a request was due, not from when a
 *         connection was free for it.
 * Rule 3: times are of the monotonic clock, in histograms of 64 steps an octave (error below 1 %).
 */
#include "common.h"
#include "histogram.h"
#include "options.h"

#define LINE_BYTES 40
#define HEAD_BYTES 8192
#define TICK_NS (10 * 1000000LL)
#define WAITING_MAX (1 << 20)
#define SLOT_NS (100 * 1000000LL)
#define SLOTS 6000

enum part { IN_HEAD, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };
enum fault { CLOSED, NO_TERMINAL, FEW_EVENTS, NO_CONNECTION, TOO_LATE, FAULTS };
static const char *const FAULT_NAMES[] = {"closed", "no terminal event", "few events",
                                          "no connection", "not ended"};

struct near {
    int fd;
    bool busy, blocked, ended, told, keep, open;
    enum part part;
    struct iovec out[4];
    int out_count;
    char head[HEAD_BYTES];
    int head_size, status, line_size, events;
    int64_t left, due_ns, first_ns, event_ns;
    char line[LINE_BYTES];
    struct near *next; /* of the idle ones */
};

static struct histogram totals, firsts, gaps;
static struct near *nears, *idle;
static struct text first_error;
static size_t next_key;
static int poll_fd, begun, open_count, busy_count, told_count;
static bool running = true;
static int64_t *waiting_ns, run_begin_ns;
static uint64_t waiting_at, waiting_end;
static uint64_t whole, whole_in_time, events_seen, bytes_seen, reads, connects, statuses[1000],
    faults[FAULTS], per_slot[SLOTS];
static char buffer[READ_BYTES];

/* -- sending ---------------------------------------------------------------------------------- */

static void watch(struct near *near) {
    bool reads_now = !options.stall && !options.slow;
    uint32_t want = EPOLLRDHUP | (reads_now ? EPOLLIN : 0) | (near->blocked ? EPOLLOUT : 0);
    if (!reads_now) want &= ~(uint32_t)EPOLLRDHUP;
    struct epoll_event event = {want, {.ptr = near}};
    epoll_ctl(poll_fd, EPOLL_CTL_MOD, near->fd, &event);
}

static void connection_lost(struct near *near, enum fault why);

static void flush(struct near *near) {
    while (near->out_count) {
        ssize_t size = writev(near->fd, near->out, near->out_count);
        if (size < 0 && errno == EAGAIN) {
            if (!near->blocked) {
                near->blocked = true;
                watch(near);
            }
            return;
        }
        if (size < 0) {
            connection_lost(near, CLOSED);
            return;
        }
        int done = 0;
        while (done < near->out_count && (size_t)size >= near->out[done].iov_len)
            size -= (ssize_t)near->out[done++].iov_len;
        near->out_count -= done;
        memmove(near->out, near->out + done, (size_t)near->out_count * sizeof *near->out);
        if (near->out_count) {
            near->out[0].iov_base = (char *)near->out[0].iov_base + size;
            near->out[0].iov_len -= (size_t)size;
        }
    }
    if (near->blocked) {
        near->blocked = false;
        watch(near);
    }
}

static void dial(struct near *near) {
    struct sockaddr_in at = loopback(options.port);
    near->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (near->fd < 0) die("socket");
    set_option(near->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (options.stall || options.slow) set_option(near->fd, SOL_SOCKET, SO_RCVBUF, 65536);
    if (connect(near->fd, (struct sockaddr *)&at, sizeof at) && errno != EINPROGRESS)
        die("connect");
    connects++;
    open_count++;
    near->open = true;
    near->blocked = true; /* writable when it is connected */
    struct epoll_event event = {EPOLLOUT, {.ptr = near}};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, near->fd, &event)) die("epoll_ctl");
}

static void send_request(struct near *near, int64_t due_ns) {
    char *key = keys ? keys[next_key] : "none";
    next_key = (next_key + 1) % key_count;
    near->busy = true;
    near->ended = false;
    busy_count++;
    near->due_ns = due_ns;
    near->first_ns = near->event_ns = 0;
    near->part = IN_HEAD;
    near->head_size = near->line_size = near->events = 0;
    near->out[0] = (struct iovec){before.data, before.size};
    near->out[1] = (struct iovec){key, strlen(key)};
    near->out[2] = (struct iovec){after.data, after.size};
    near->out[3] = (struct iovec){body.data, body.size};
    near->out_count = body.size ? 4 : 3;
    if (!near->open)
        dial(near);
    else
        flush(near);
}

/* What a connection does that has nothing to do. */
static void next_request(struct near *near) {
    if (options.rate > 0) {
        if (waiting_at < waiting_end) {
            send_request(near, waiting_ns[waiting_at++ % WAITING_MAX]);
        } else {
            near->next = idle;
            idle = near;
        }
    } else if (running) {
        send_request(near, now_ns());
    }
}

static void hang_up(struct near *near) {
    if (!near->open) return;
    near->open = false;
    open_count--;
    close(near->fd);
}

static void connection_lost(struct near *near, enum fault why) {
    hang_up(near);
    if (!near->busy) return; /* an idle one: the next request dials */
    near->busy = false;
    busy_count--;
    faults[why]++;
    next_request(near);
}

/* -- reading ---------------------------------------------------------------------------------- */

static void line_ended(struct near *near, int64_t at_ns) {
    size_t terminal = options.terminal ? strlen(options.terminal) : 0;
    if (near->line_size >= 5 && memcmp(near->line, "data:", 5) == 0) {
        near->events++;
        if (near->event_ns) record(&gaps, at_ns - near->event_ns);
        near->event_ns = at_ns;
    }
    if (terminal && (size_t)near->line_size >= terminal &&
        memcmp(near->line, options.terminal, terminal) == 0)
        near->ended = true;
    near->line_size = 0;
}

static void take_body(struct near *near, const char *data, size_t size, int64_t at_ns) {
    if (!near->first_ns) {
        near->first_ns = at_ns;
        if (options.tell && !near->told && near->status == 200) {
            near->told = true;
            if (++told_count == options.connections) {
                printf("all\n");
                fflush(stdout);
            }
        }
    }
    bytes_seen += size;
    if (near->status != 200 && first_error.size < 400) text_add(&first_error, data, size);
    if (!options.terminal) return;
    for (const char *end = data + size; data < end;) {
        const char *stop = memchr(data, '\n', (size_t)(end - data));
        size_t part = (size_t)((stop ? stop : end) - data);
        size_t room = (size_t)(LINE_BYTES - near->line_size);
        memcpy(near->line + near->line_size, data, part < room ? part : room);
        near->line_size += (int)(part < room ? part : room);
        if (!stop) return;
        line_ended(near, at_ns);
        data = stop + 1;
    }
}

static void answer_ended(struct near *near, int64_t at_ns) {
    near->busy = false;
    busy_count--;
    events_seen += (uint64_t)near->events;
    if (near->status != 200) {
        statuses[near->status > 0 && near->status < 1000 ? near->status : 0]++;
    } else if (options.terminal && !near->ended) {
        faults[NO_TERMINAL]++;
    } else if (near->events < options.events) {
        faults[FEW_EVENTS]++;
    } else {
        int64_t slot = (at_ns - run_begin_ns) / SLOT_NS;
        per_slot[slot < SLOTS ? slot : SLOTS - 1]++;
        whole++;
        whole_in_time += running;
        record(&totals, at_ns - near->due_ns);
        record(&firsts, near->first_ns - near->due_ns);
    }
    if (!near->keep) hang_up(near);
}

/* Status and framing of an answer; whether the head is whole. */
static bool take_head(struct near *near, const char **data, const char *end) {
    size_t room = HEAD_BYTES - (size_t)near->head_size - 1, size = (size_t)(end - *data);
    size_t part = size < room ? size : room;
    memcpy(near->head + near->head_size, *data, part);
    char *stop = memmem(near->head, (size_t)near->head_size + part, "\r\n\r\n", 4);
    if (!stop) {
        near->head_size += (int)part;
        *data = end;
        return false;
    }
    stop += 4;
    *data += stop - near->head - near->head_size;
    *stop = 0;
    near->status = atoi(near->head + 9);
    const char *length = header(near->head, stop, "content-length:");
    const char *coding = header(near->head, stop, "transfer-encoding:");
    const char *ends = header(near->head, stop, "connection:");
    near->keep = !ends || strncasecmp(ends, "close", 5) != 0;
    near->left = length ? atoll(length) : coding ? 0 : INT64_MAX;
    near->part = coding ? CHUNK_SIZE : SIZED;
    near->head_size = 0; /* now of a chunk's size line */
    return true;
}

/* One line of chunk framing, without its end; NULL while it is not whole. */
static const char *framing(struct near *near, const char **data, const char *end) {
    const char *stop = memchr(*data, '\n', (size_t)(end - *data));
    size_t part = (size_t)((stop ? stop : end) - *data);
    if (near->head_size + part >= HEAD_BYTES) part = HEAD_BYTES - 1 - (size_t)near->head_size;
    memcpy(near->head + near->head_size, *data, part);
    near->head_size += (int)part;
    *data = stop ? stop + 1 : end;
    if (!stop) return NULL;
    while (near->head_size && near->head[near->head_size - 1] == '\r') near->head_size--;
    near->head[near->head_size] = 0;
    near->head_size = 0;
    return near->head;
}

/* Returns whether the answer has ended. */
static bool take(struct near *near, const char *data, size_t size, int64_t at_ns) {
    const char *end = data + size, *line;
    while (data < end || (near->part == SIZED && near->left == 0)) {
        size_t part = (size_t)(end - data);
        if ((int64_t)part > near->left) part = (size_t)near->left;
        switch (near->part) {
        case IN_HEAD:
            take_head(near, &data, end);
            break;
        case SIZED:
            if (part) take_body(near, data, part, at_ns);
            near->left -= (int64_t)part;
            data += part;
            if (!near->left) return true;
            break;
        case CHUNK_SIZE:
            if (!(line = framing(near, &data, end))) return false;
            near->left = strtoll(line, NULL, 16);
            near->part = near->left ? CHUNK_DATA : TRAILER;
            break;
        case CHUNK_DATA:
            take_body(near, data, part, at_ns);
            near->left -= (int64_t)part;
            data += part;
            if (!near->left) near->part = CHUNK_END;
            break;
        case CHUNK_END:
            if (!framing(near, &data, end)) return false;
            near->part = CHUNK_SIZE;
            break;
        case TRAILER:
            if (!(line = framing(near, &data, end))) return false;
            if (!*line) return true;
        }
    }
    return false;
}

static void readable(struct near *near, size_t most) {
    ssize_t size = recv(near->fd, buffer, most, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        bool by_end = size == 0 && near->busy && near->part == SIZED && near->left > INT64_MAX / 2;
        if (by_end) { /* a body that the end of the connection ends */
            near->keep = false;
            answer_ended(near, now_ns());
            next_request(near);
        } else {
            connection_lost(near, CLOSED);
        }
        return;
    }
    reads++;
    if (!near->busy) return;
    int64_t at_ns = now_ns();
    if (!take(near, buffer, (size_t)size, at_ns)) return;
    answer_ended(near, at_ns);
    next_request(near);
}

/* -- the run ---------------------------------------------------------------------------------- */

/* Requests that are due by now; the time of the next. */
static int64_t arrivals(int64_t begin_ns, int64_t now) {
    static uint64_t asked;
    int64_t due = begin_ns + (int64_t)((double)asked * SECOND_NS / options.rate);
    for (; due <= now && waiting_end - waiting_at < WAITING_MAX; asked++) {
        waiting_ns[waiting_end++ % WAITING_MAX] = due;
        due = begin_ns + (int64_t)((double)(asked + 1) * SECOND_NS / options.rate);
    }
    while (idle && waiting_at < waiting_end) {
        struct near *near = idle;
        idle = near->next;
        next_request(near);
    }
    return due;
}

/* Lets the connections begin whose time it is; the time of the next, -1 for none. */
static int64_t beginnings(int64_t begin_ns, int64_t now) {
    for (; begun < options.connections; begun++) {
        int64_t at =
            begin_ns + (int64_t)(options.spread_s * SECOND_NS * begun / options.connections);
        if (at > now) return at;
        next_request(&nears[begun]);
    }
    return -1;
}

static int64_t earlier(int64_t one, int64_t other) {
    return one < 0 || (other >= 0 && other < one) ? other : one;
}

static void react(const struct epoll_event *event) {
    struct near *near = event->data.ptr;
    if (near->open && event->events & EPOLLOUT) {
        near->blocked = false;
        watch(near);
        int fd = near->fd;
        flush(near);
        if (near->fd != fd) return; /* it was lost, and another one dials */
    }
    if (!near->open) return;
    bool ended = event->events & (EPOLLHUP | EPOLLERR);
    if (ended && (options.stall || options.slow))
        connection_lost(near, near->part == IN_HEAD ? NO_CONNECTION : CLOSED);
    else if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        readable(near, sizeof buffer);
}

static void run(int64_t begin_ns) {
    struct epoll_event events[EVENTS_AT_ONCE];
    int64_t end_ns = begin_ns + (int64_t)(options.seconds * SECOND_NS), tick_ns = begin_ns;
    int64_t last_ns = end_ns + (int64_t)((options.cut ? 0 : options.drain_s) * SECOND_NS);
    for (int64_t now = begin_ns;; now = now_ns()) {
        running = now < end_ns;
        bool left = busy_count > 0 || waiting_at < waiting_end;
        if (!running && (!left || now >= last_ns)) return;
        int64_t until = running ? end_ns : last_ns;
        if (running) {
            until = earlier(until, beginnings(begin_ns, now));
            if (options.rate > 0) until = earlier(until, arrivals(begin_ns, now));
        }
        if (options.slow && now >= tick_ns) {
            size_t most = (size_t)options.slow / (SECOND_NS / TICK_NS);
            for (int at = 0; at < begun; at++)
                if (nears[at].open && nears[at].busy) readable(&nears[at], most ? most : 1);
            tick_ns += TICK_NS;
        }
        if (options.slow) until = earlier(until, tick_ns);
        int found = wait_events(poll_fd, events, until);
        for (int at = 0; at < found; at++) react(&events[at]);
    }
}

static void print_text(const char *name, const struct text *text) {
    printf(",\"%s\":\"", name);
    for (size_t at = 0; at < text->size && at < 400; at++) {
        unsigned char one = (unsigned char)text->data[at];
        if (one == '"' || one == '\\')
            printf("\\%c", one);
        else
            putchar(one >= 32 && one < 127 ? one : ' ');
    }
    printf("\"");
}

static void report(int64_t begin_ns) {
    struct rusage usage;
    double elapsed_s = (double)(now_ns() - begin_ns) / SECOND_NS;
    double in_s = elapsed_s < options.seconds ? elapsed_s : options.seconds;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (!options.cut) faults[TOO_LATE] += (uint64_t)busy_count + (waiting_end - waiting_at);
    for (int at = 0; at < options.connections; at++)
        if (nears[at].busy) events_seen += (uint64_t)nears[at].events;
    printf("{\"answers\":%lu,\"errors\":{", whole);
    const char *comma = "";
    for (int at = 0; at < FAULTS; at++) {
        if (!faults[at]) continue;
        printf("%s\"%s\":%lu", comma, FAULT_NAMES[at], faults[at]);
        comma = ",";
    }
    for (int at = 0; at < 1000; at++) {
        if (!statuses[at]) continue;
        printf("%s\"%d\":%lu", comma, at, statuses[at]);
        comma = ",";
    }
    printf("},\"seconds\":%.3f,\"elapsed_s\":%.3f,\"answers_per_s\":%.1f,\"events\":%lu,"
           "\"events_per_s\":%.1f,\"bytes\":%lu,\"reads\":%lu,\"connects\":%lu,\"under_way\":%d,"
           "\"load_cpu_s\":%.3f",
           in_s, elapsed_s, (double)whole_in_time / in_s, events_seen,
           (double)events_seen / elapsed_s, bytes_seen, reads, connects, busy_count, cpu_s);
    print_histogram("", &totals);
    print_histogram("first_", &firsts);
    print_histogram("gap_", &gaps);
    if (options.timeline) {
        int slots = (int)(elapsed_s * SECOND_NS / SLOT_NS) + 1;
        printf(",\"per_100_ms\":[");
        for (int at = 0; at < slots && at < SLOTS; at++)
            printf("%s%lu", at ? "," : "", per_slot[at]);
        printf("]");
    }
    if (first_error.size) print_text("first_error", &first_error);
    printf("}\n");
}

int main(int count, char **words) {
    prepare_process();
    read_options(count, words);
    waiting_ns = options.rate > 0 ? malloc(WAITING_MAX * sizeof *waiting_ns) : NULL;
    nears = calloc((size_t)options.connections, sizeof *nears);
    if (!nears || (options.rate > 0 && !waiting_ns)) die("memory");
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    run_begin_ns = now_ns();
    next_key = (size_t)run_begin_ns % key_count;
    run(run_begin_ns);
    report(run_begin_ns);
    return 0;
}
