/* What the C programs of further_test.go share: the protocol with the casebook
 * (lines on standard output, the end when standard input ends), and connections
 * on loopback. */
#ifndef FURTHER_H
#define FURTHER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAYBE_UNUSED __attribute__((unused))

MAYBE_UNUSED __attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void *end_with_input(void *arg)
{
	char c;

	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	exit(0);
	return arg;
}

/* Lines go out one by one, and the process ends when its input does. To be
 * called first, but after fork: threads are not inherited. */
MAYBE_UNUSED static void begin(void)
{
	pthread_t thread;

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (pthread_create(&thread, NULL, end_with_input, NULL) != 0)
		die("pthread_create");
}

/* A helper process that ends with this one. Returns 0 in the child. */
MAYBE_UNUSED static pid_t helper(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		signal(SIGPIPE, SIG_IGN);
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			exit(1);
	}
	return pid;
}

/* "127.0.0.1:8080" as an address. */
MAYBE_UNUSED static struct sockaddr_in address(const char *text)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	char host[64];
	unsigned port;

	errno = EINVAL;
	if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &addr.sin_addr) != 1)
		die(text);
	addr.sin_port = htons((uint16_t)port);
	return addr;
}

MAYBE_UNUSED static int listen_on_loopback(struct sockaddr_in *addr, int flags)
{
	socklen_t len = sizeof *addr;
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

	*addr = address("127.0.0.1:0");
	if (fd < 0 || bind(fd, (struct sockaddr *)addr, len) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)addr, &len) < 0)
		die("listen on loopback");
	return fd;
}

/* A client of its own process, for programs whose server is the story. */
MAYBE_UNUSED static int connect_to(const struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0)
		die("connect on loopback");
	return fd;
}

/* Sends a line and reads one; false if the connection is over. */
MAYBE_UNUSED static bool ask(int fd)
{
	char line[64] = "ping\n";

	return write(fd, line, 5) == 5 && read(fd, line, sizeof line) > 0;
}

#endif
