/* Makes sockets by way of libuv in three functions, the handles at addresses that
 * are used again at once, and sockets of its own in between. For each it writes
 * the inode number and which function asked for it, "-" for those of its own:
 *
 *   handles N  begins when a line comes on standard input, and makes N handles
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define POOL 8

union any {
	uv_handle_t handle;
	uv_tcp_t tcp;
	uv_udp_t udp;
	uv_pipe_t pipe;
};

struct slot {
	union any h;
	uv_connect_t connect;
	int kind;
	const char *asked;
};

static uv_loop_t *loop;
static uv_idle_t idle;
static struct slot pool[POOL];
static struct slot *waiting[POOL]; /* made, and not yet used */
static int waits, made, total;
static struct sockaddr_in nowhere;

static unsigned long inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

static void closed(uv_handle_t *h) { h->data = NULL; }
static void connected(uv_connect_t *c, int status) { (void)c, (void)status; }

/* What is made by itself, from the same places, is nobody's. */
__attribute__((noinline)) static void own(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	printf("%lu -\n", inode_of(fd));
	close(fd);
}

static void make(struct slot *s, int kind, const char *asked)
{
	s->kind = kind;
	s->asked = asked;
}

/* The functions that ask: each makes all kinds of handles. */
#define ASKS(name)                                                                                 \
	__attribute__((noinline)) static void name(struct slot *s, int kind)                       \
	{                                                                                          \
		switch (kind) {                                                                    \
		case 0:                                                                            \
		case 1:                                                                            \
			uv_tcp_init(loop, &s->h.tcp);                                              \
			break;                                                                     \
		case 2:                                                                            \
			uv_tcp_init_ex(loop, &s->h.tcp, AF_INET);                                  \
			break;                                                                     \
		case 3:                                                                            \
			uv_udp_init(loop, &s->h.udp);                                              \
			break;                                                                     \
		default:                                                                           \
			uv_pipe_init(loop, &s->h.pipe, 0);                                         \
		}                                                                                  \
		make(s, kind, #name);                                                              \
	}

ASKS(one)
ASKS(two)
ASKS(three)

/* The same for all, as an event loop is. */
__attribute__((noinline)) static void use(struct slot *s)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd;

	switch (s->kind) {
	case 0:
		uv_tcp_connect(&s->connect, &s->h.tcp, (struct sockaddr *)&nowhere, connected);
		break;
	case 1:
		uv_tcp_bind(&s->h.tcp, (struct sockaddr *)&any, 0);
		break;
	case 3:
		uv_udp_bind(&s->h.udp, (struct sockaddr *)&any, 0);
		break;
	case 4:
		uv_pipe_connect(&s->connect, &s->h.pipe, "/nonexistent/socket", connected);
		break;
	}
	if (rand() % 4 == 0)
		own();
	if (!uv_fileno(&s->h.handle, &fd))
		printf("%lu %s\n", inode_of(fd), s->asked);
	uv_close(&s->h.handle, closed);
}

static void tick(uv_idle_t *i)
{
	while (waits)
		use(waiting[--waits]);
	for (int n = 0; n < POOL && made < total; n++) {
		struct slot *s = &pool[n];

		if (s->h.handle.data)
			continue; /* still closing */
		memset(s, 0, sizeof(*s));
		switch (rand() % 3) {
		case 0: one(s, rand() % 5); break;
		case 1: two(s, rand() % 5); break;
		default: three(s, rand() % 5);
		}
		s->h.handle.data = s;
		made++;
		if (rand() % 4 == 0)
			own();
		if (rand() % 2)
			use(s);
		else
			waiting[waits++] = s;
	}
	if (made == total && !waits)
		uv_idle_stop(i);
}

int main(int argc, char **argv)
{
	char line[8];

	total = argc > 1 ? atoi(argv[1]) : 100;
	uv_ip4_addr("127.0.0.1", 9, &nowhere);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	loop = uv_default_loop();
	uv_idle_init(loop, &idle);
	uv_idle_start(&idle, tick);
	uv_run(loop, UV_RUN_DEFAULT);
	puts("done");
	fflush(stdout);
	/* Its stacks are to be named while it is there. */
	pause();
	return 0;
}
