/* Leaks what an event loop makes, for two functions that asked for it, and that
 * have returned by then:
 *
 *   leak    one for each, answers "ok"
 *   quit    ends
 *
 * The loop has the functions of libuv by which sockleak follows one, and nothing
 * else: what is tested is not libuv but whether this kernel lets us. */
#include "workload.h"

/* As uv_tcp_t: the program has it, the loop fills it in. */
struct handle {
	int fd;
};

enum { HANDLES = 4096 };
static struct handle handles[HANDLES + 1]; /* the last is never used */
static int asked, made;

#define LIBUV __attribute__((noinline, noclone))

LIBUV int uv_tcp_init(void *loop, struct handle *h);
LIBUV int uv_tcp_connect(void *request, struct handle *h);
LIBUV void uv_close(struct handle *h, void (*done)(struct handle *));

int uv_tcp_init(void *loop, struct handle *h)
{
	(void)loop;
	h->fd = -1;
	return 0;
}

int uv_tcp_connect(void *request, struct handle *h)
{
	(void)request;
	h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return h->fd < 0 ? -errno : 0;
}

void uv_close(struct handle *h, void (*done)(struct handle *))
{
	(void)done;
	close(h->fd);
}

/* Looks at the result, so that who asked is still there when libuv is called. */
static inline __attribute__((always_inline)) void ask_for_one(void)
{
	if (asked == HANDLES || uv_tcp_init(NULL, &handles[asked++]) < 0)
		die("ask");
}

LEAKS static void ask_here_first(void)
{
	ask_for_one();
}

LEAKS static void ask_here_second(void)
{
	handles[asked].fd = -2; /* or the compiler makes one function of both (-fipa-icf) */
	ask_for_one();
}

/* The loop's next turn. */
LEAKS static void leak_here_turn(void)
{
	while (made < asked)
		if (uv_tcp_connect(NULL, &handles[made++]) < 0)
			die("connect");
}

int main(void)
{
	char line[64];

	begin();
	say("ready");
	while (read_line(STDIN_FILENO, line, sizeof line) && strcmp(line, "leak") == 0) {
		ask_here_first();
		ask_here_second();
		leak_here_turn();
		say("ok");
	}
	while (made > 0)
		uv_close(&handles[--made], NULL);
	return 0;
}
