/* Leaks a socket in each condition that leaks leave them in, each in a function
 * of its own, and uses others well in between:
 *
 *   leak    one of each that one alone shows, answers "ok"
 *   grow    one of each that only their number shows, answers "ok"
 *   quit    ends
 *
 * With "hold" as its only argument it does nothing but hold what it inherited. */
#include "workload.h"
#include "peers.h"

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

/* By the peer, after connect has returned. */
LEAKS static void leak_here_reset(void)
{
	int fd = dial(reset_port, SOCK_CLOEXEC);

	close(tcp_accept(reset_listener));
	await_end(fd);
}

/* The program ended the connection, and not the socket (connect(2)). */
LEAKS static void leak_here_disconnected(void)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	int fd = dial(echo_port, SOCK_CLOEXEC);

	if (!ask(fd) || connect(fd, &nowhere, sizeof nowhere) < 0)
		die("disconnect");
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

/* This side has said that it is done; the peer, which hangs, never does. */
LEAKS static void leak_here_halfclosed(void)
{
	if (shutdown(dial(hung_port, SOCK_CLOEXEC), SHUT_WR) < 0)
		die("shutdown");
}

/* What is sent is never acknowledged. */
LEAKS static void leak_here_halfopen(void)
{
	int fd = dial_deaf();

	if (write(fd, "hello?", 6) != 6)
		die("write to who hears nothing");
}

/* Keepalive asks, and is never answered. */
LEAKS static void leak_here_unanswered(void)
{
	int fd = dial_deaf();

	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, 127); /* the most */
}

/* An answer that nobody reads. */
LEAKS static void leak_here_unread(void)
{
	if (write(dial(echo_port, SOCK_CLOEXEC), "answer!", 7) != 7)
		die("ask");
}

/* For AF_UNIX the state doesn't tell that the peer is gone. */
LEAKS static void leak_here_peergone(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&local, local_len) < 0)
		die("connect locally");
	close(tcp_accept(local_listener));
}

/* A device that lost its power comes back; its old connection is kept. */
LEAKS static void leak_here_superseded(void)
{
	struct link lost, kept;

	new_device();
	lost = admit_device();
	pass(lost);
	kept = admit_device();
	keep_passing(kept);
}

/* Nothing speaks against it but that there are ever more. */
LEAKS static void leak_here_growing(void)
{
	if (socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) < 0)
		die("socket");
}

/* Used once, and never again. */
LEAKS static void leak_here_kept(void)
{
	if (!ask(dial(echo_port, SOCK_CLOEXEC)))
		die("use it once");
}

static void use_well(void)
{
	int fd = tcp_connect(echo_port);

	if (!ask(fd))
		die("healthy traffic");
	close(fd);
}

static void leak(char *self)
{
	leak_here_never();
	use_well();
	leak_here_refused();
	leak_here_pending();
	leak_here_closewait();
	use_well();
	leak_here_reset();
	leak_here_disconnected();
	leak_here_inherited(self);
	leak_here_halfclosed();
	leak_here_halfopen();
	leak_here_unanswered();
	leak_here_unread();
	leak_here_peergone();
	leak_here_superseded();
}

int main(int argc, char **argv)
{
	char line[64];

	begin();
	if (argc == 2 && strcmp(argv[1], "hold") == 0)
		return pause();
	set_up();
	say("ready");
	while (read_line(STDIN_FILENO, line, sizeof line)) {
		if (strcmp(line, "leak") == 0) {
			leak(argv[0]);
		} else if (strcmp(line, "grow") == 0) {
			leak_here_growing();
			leak_here_kept();
		} else {
			break;
		}
		say("ok");
	}
	return 0;
}
