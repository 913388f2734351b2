/* Makes sockets by way of libuv in three functions, the handles at addresses that
 * are used again at once, and sockets of its own in between. For each it writes
 * the inode number and which function asked for it, "-" for those of its own:
 *
 *   handles N DIR  begins when a line comes on standard input, and makes N handles;
 *                  those with a name in the file system have it in DIR
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

/* Each function of libuv that may make the socket of a handle, those that make the
 * handle included. */
enum kind {
	BY_TCP_INIT_EX,
	BY_UDP_INIT_EX,
	BY_TCP_CONNECT,
	BY_TCP_BIND,
	BY_TCP_LISTEN,
	BY_UDP_BIND,
	BY_UDP_CONNECT,
	BY_UDP_SEND,
	BY_UDP_TRY_SEND,
	BY_UDP_RECV_START,
	BY_PIPE_CONNECT,
	BY_PIPE_BIND,
	KINDS,
};

struct slot {
	union any h;
	uv_connect_t connect;
	uv_udp_send_t send;
	enum kind kind;
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
static void sent(uv_udp_send_t *s, int status) { (void)s, (void)status; }
static void accepts(uv_stream_t *s, int status) { (void)s, (void)status; }

/* Nothing is sent to those that receive. */
static void room(uv_handle_t *h, size_t size, uv_buf_t *to) { (void)h, (void)size, (void)to; }
static void received(uv_udp_t *u, ssize_t n, const uv_buf_t *b, const struct sockaddr *from, unsigned flags)
{
	(void)u, (void)n, (void)b, (void)from, (void)flags;
}

/* What is made by itself, from the same places, is nobody's. */
__attribute__((noinline)) static void own(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	printf("%lu -\n", inode_of(fd));
	close(fd);
}

/* The functions that ask: each makes all kinds of handles. What they do last keeps
 * them on the stack: a call there would be a jump. */
#define ASKS(name)                                                                                 \
	__attribute__((noinline)) static void name(struct slot *s)                                 \
	{                                                                                          \
		switch (s->kind) {                                                                 \
		case BY_TCP_INIT_EX:                                                               \
			uv_tcp_init_ex(loop, &s->h.tcp, AF_INET);                                  \
			break;                                                                     \
		case BY_UDP_INIT_EX:                                                               \
			uv_udp_init_ex(loop, &s->h.udp, AF_INET);                                  \
			break;                                                                     \
		case BY_TCP_CONNECT:                                                               \
		case BY_TCP_BIND:                                                                  \
		case BY_TCP_LISTEN:                                                                \
			uv_tcp_init(loop, &s->h.tcp);                                              \
			break;                                                                     \
		case BY_PIPE_CONNECT:                                                              \
		case BY_PIPE_BIND:                                                                 \
			uv_pipe_init(loop, &s->h.pipe, 0);                                         \
			break;                                                                     \
		default:                                                                           \
			uv_udp_init(loop, &s->h.udp);                                              \
		}                                                                                  \
		s->asked = #name;                                                                  \
	}

ASKS(one)
ASKS(two)
ASKS(three)

/* The same for all, as an event loop is. */
__attribute__((noinline)) static void use(struct slot *s)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct sockaddr *to = (struct sockaddr *)&nowhere, *at = (struct sockaddr *)&any;
	uv_buf_t word = uv_buf_init("word", 4);
	char name[16];
	int fd;

	switch (s->kind) {
	case BY_TCP_CONNECT: uv_tcp_connect(&s->connect, &s->h.tcp, to, connected); break;
	case BY_TCP_BIND: uv_tcp_bind(&s->h.tcp, at, 0); break;
	case BY_TCP_LISTEN: uv_listen((uv_stream_t *)&s->h.tcp, 1, accepts); break;
	case BY_UDP_BIND: uv_udp_bind(&s->h.udp, at, 0); break;
	case BY_UDP_CONNECT: uv_udp_connect(&s->h.udp, to); break;
	case BY_UDP_SEND: uv_udp_send(&s->send, &s->h.udp, &word, 1, to, sent); break;
	case BY_UDP_TRY_SEND: uv_udp_try_send(&s->h.udp, &word, 1, to); break;
	case BY_UDP_RECV_START: uv_udp_recv_start(&s->h.udp, room, received); break;
	case BY_PIPE_CONNECT: uv_pipe_connect(&s->connect, &s->h.pipe, "nobody", connected); break;
	case BY_PIPE_BIND:
		/* No other handle has it meanwhile, and closing takes it away. */
		snprintf(name, sizeof(name), "%d", (int)(s - pool));
		uv_pipe_bind(&s->h.pipe, name);
		break;
	default: /* made with the handle */
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
		s->kind = rand() % KINDS;
		switch (rand() % 3) {
		case 0: one(s); break;
		case 1: two(s); break;
		default: three(s);
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

	if (argc != 3 || chdir(argv[2]))
		return 2;
	total = atoi(argv[1]);
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
