/* What the test programs share: how they talk to the test that started them,
 * and loopback sockets. Standard input and output carry lines of text: the
 * program prints "ready" once its descriptors are as its name promises, and
 * ends when its input ends, so that none survives its test. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAYBE_UNUSED __attribute__((unused))

/* A frame of its own in every build, so that a stack can name it. */
#define LEAKS __attribute__((noinline, noclone))

/* No program outlives this, whatever happens to the test. */
enum { LIFETIME_S = 900 };

MAYBE_UNUSED __attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

MAYBE_UNUSED static void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

MAYBE_UNUSED static void say(const char *line)
{
	char buf[512];
	int n = snprintf(buf, sizeof buf, "%s\n", line);

	if (write(STDOUT_FILENO, buf, (size_t)n) != n)
		exit(1); /* the test is gone */
}

/* Reads a line without buffering what follows it: another image of this
 * program may read the rest. Returns false at the end of input. */
MAYBE_UNUSED static bool read_line(int fd, char *line, size_t size)
{
	size_t n = 0;

	for (;;) {
		char c;
		ssize_t got = read(fd, &c, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		if (c == '\n')
			break;
		if (n + 1 < size)
			line[n++] = c;
	}
	line[n] = '\0';
	return true;
}

/* To be called first: a write to a closed connection is no reason to die. */
MAYBE_UNUSED static void begin(void)
{
	struct rlimit limit;

	signal(SIGPIPE, SIG_IGN);
	alarm(LIFETIME_S);
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("setrlimit");
}

/* Says that all is as it should be, then blocks until the test lets go. */
MAYBE_UNUSED static int hold(const char *what)
{
	char line[64];

	say(what);
	while (read_line(STDIN_FILENO, line, sizeof line) && strcmp(line, "quit") != 0)
		;
	return 0;
}

/* Replaces this image by a fresh one of the same file, under the same name: by
 * way of /proc/self/exe the process would be called "exe". Returns on error. */
MAYBE_UNUSED static void exec_again(char **argv)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

	if (n < 0)
		return;
	path[n] = '\0';
	execv(path, argv);
}

MAYBE_UNUSED static void start_thread(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, run, arg);
	if (errno != 0)
		die("pthread_create");
	pthread_detach(thread);
}

MAYBE_UNUSED static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return addr;
}

/* Listens on a free port of 127.0.0.1 and stores it. */
MAYBE_UNUSED static int tcp_listener(uint16_t *port)
{
	struct sockaddr_in addr = loopback(0);
	socklen_t len = sizeof addr;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 1024) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		die("listen on loopback");
	*port = ntohs(addr.sin_port);
	return fd;
}

MAYBE_UNUSED static int tcp_connect(uint16_t port)
{
	struct sockaddr_in addr = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		die("connect on loopback");
	return fd;
}

MAYBE_UNUSED static int tcp_accept(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		die("accept");
	return fd;
}

/* One connection's server: sends back what comes until the peer closes. */
MAYBE_UNUSED static void *echo(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[256];
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0 && write(fd, buf, (size_t)n) == n)
		;
	close(fd);
	return NULL;
}

/* A server with a thread for each connection. The argument is the listener. */
MAYBE_UNUSED static void *echo_server(void *arg)
{
	for (;;)
		start_thread(echo, (void *)(intptr_t)tcp_accept((int)(intptr_t)arg));
	return NULL;
}

/* Sends a request and waits for its echo; false if the connection is broken. */
MAYBE_UNUSED static bool ask(int fd)
{
	char buf[16] = "is it you?";

	return write(fd, buf, sizeof buf) == sizeof buf &&
	       recv(fd, buf, sizeof buf, MSG_WAITALL) == sizeof buf;
}

#endif
