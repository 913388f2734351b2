/* Leaks a socket in each condition that leaks leave them in, each in a function
 * of its own, and uses others well in between:
 *
 *   leak    one of each, answers "ok"
 *   quit    ends
 *
 * With "hold" as its only argument it does nothing but hold what it inherited. */
#include "workload.h"

static uint16_t farewell_port, reset_port, full_port, refused_port;

/* Closes each connection as soon as it is there: by reset where the listener's
 * SO_LINGER says so, which its connections have too. */
static void *closing_server(void *arg)
{
	for (;;)
		close(tcp_accept((int)(intptr_t)arg));
	return NULL;
}

/* A connection to the port, established or not: that is what the test is about. */
static inline __attribute__((always_inline)) int dial(uint16_t port, int flags)
{
	struct sockaddr_in addr = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

	if (fd < 0)
		die("socket");
	/* The reset may come before connect has returned. */
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 && errno != ECONNREFUSED &&
	    errno != ECONNRESET && errno != EINPROGRESS)
		die("connect");
	return fd;
}

static void await_end(int fd)
{
	struct pollfd end = {fd, POLLRDHUP, 0};

	if (poll(&end, 1, 10000) != 1)
		die("wait for the end of the connection");
}

LEAKS static void leak_here_never(void)
{
	if (socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0)
		die("socket");
}

LEAKS static void leak_here_refused(void)
{
	dial(refused_port, SOCK_CLOEXEC);
}

LEAKS static void leak_here_pending(void)
{
	dial(full_port, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

LEAKS static void leak_here_closewait(void)
{
	await_end(dial(farewell_port, SOCK_CLOEXEC));
}

LEAKS static void leak_here_reset(void)
{
	await_end(dial(reset_port, SOCK_CLOEXEC));
}

/* Not close-on-exec, so the child goes on holding it. */
LEAKS static void leak_here_inherited(char *self)
{
	int fd = dial(farewell_port, 0);
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		execl(self, self, "hold", NULL);
		_exit(1);
	}
	await_end(fd);
	close(fd);
}

static void use_well(uint16_t echo_port)
{
	int fd = tcp_connect(echo_port);

	if (!ask(fd))
		die("healthy traffic");
	close(fd);
}

/* A port on which connects stay unanswered: its queue is full, and nobody
 * accepts (listen(2); the kernel lets in one more than the backlog says). */
static void fill(uint16_t *port)
{
	int listener = tcp_listener(port);

	if (listen(listener, 0) < 0)
		die("listen");
	tcp_connect(*port);
}

static void set_up(uint16_t *echo_port)
{
	struct linger at_once = {.l_onoff = 1};
	int resetting = tcp_listener(&reset_port);

	if (setsockopt(resetting, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0)
		die("setsockopt");
	start_thread(closing_server, (void *)(intptr_t)resetting);
	start_thread(closing_server, (void *)(intptr_t)tcp_listener(&farewell_port));
	start_thread(echo_server, (void *)(intptr_t)tcp_listener(echo_port));
	close(tcp_listener(&refused_port));
	fill(&full_port);
}

int main(int argc, char **argv)
{
	uint16_t echo_port;
	char line[64];

	begin();
	if (argc == 2 && strcmp(argv[1], "hold") == 0)
		return pause();
	set_up(&echo_port);
	say("ready");
	while (read_line(STDIN_FILENO, line, sizeof line) && strcmp(line, "leak") == 0) {
		leak_here_never();
		use_well(echo_port);
		leak_here_refused();
		leak_here_pending();
		leak_here_closewait();
		use_well(echo_port);
		leak_here_reset();
		leak_here_inherited(argv[0]);
		say("ok");
	}
	return 0;
}
