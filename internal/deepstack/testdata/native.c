/* Makes a socket, a socketpair, and accepts a connection, each in a function of
 * its own, ten times a second. Built without frame pointers. */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) int make_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* SOCKET */

	__asm__ volatile("" ::: "memory");
	return fd;
}

__attribute__((noinline)) void make_pair(int fd[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd)) /* PAIR */
		abort();
	__asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) int take_connection(int listener)
{
	int fd = accept(listener, NULL, NULL); /* ACCEPT */

	__asm__ volatile("" ::: "memory");
	return fd;
}

__attribute__((noinline)) int deep(int n)
{
	int fd = n ? deep(n - 1) : make_socket();

	__asm__ volatile("" ::: "memory");
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int depth = argc > 1 ? atoi(argv[1]) : 0;
	int pause = argc > 2 ? atoi(argv[2]) : 100000;
	int rounds = argc > 3 ? atoi(argv[3]) : -1;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (void *)&at, sizeof(at)) || listen(listener, 8) ||
	    getsockname(listener, (void *)&at, &size))
		abort();
	while (rounds--) {
		int pair[2], fd = deep(depth), taken;

		if (connect(fd, (void *)&at, sizeof(at)))
			abort();
		taken = take_connection(listener);
		make_pair(pair);
		close(taken), close(fd), close(pair[0]), close(pair[1]);
		if (pause)
			usleep(pause);
	}
}
