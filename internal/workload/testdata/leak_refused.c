/* Leaks sockets whose non-blocking connect is refused and that nobody closes. */
#include "leaker.h"

/* Bound and not listening: connections to it are refused, and nobody else can
 * take the port meanwhile. */
static int refusing;
static uint16_t refusing_port;

LEAKS static int leak_here_refused(void)
{
	struct sockaddr_in addr = loopback(refusing_port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0); /* LEAK */

	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0 ||
	    (errno != EINPROGRESS && errno != ECONNREFUSED))
		die("connect that should be refused");
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = loopback(0);
	socklen_t len = sizeof addr;

	begin();
	refusing = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (refusing < 0 || bind(refusing, (struct sockaddr *)&addr, len) < 0 ||
	    getsockname(refusing, (struct sockaddr *)&addr, &len) < 0)
		die("bind on loopback");
	refusing_port = ntohs(addr.sin_port);
	return leaker_main(argc, argv, leak_here_refused);
}
