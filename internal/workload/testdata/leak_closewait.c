/* Leaks connections that the server closed first, with its farewell unread:
 * CLOSE-WAIT until the program ends. */
#include "leaker.h"

static uint16_t goodbye_port;

static void *goodbye_server(void *arg)
{
	for (;;) {
		int fd = tcp_accept((int)(intptr_t)arg);

		if (write(fd, "goodbye\n", 8) != 8)
			die("write");
		close(fd);
	}
	return NULL;
}

LEAKS static int leak_here_closewait(void)
{
	struct sockaddr_in addr = loopback(goodbye_port);
	struct pollfd closed = {.events = POLLRDHUP};
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* LEAK */

	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		die("connect");
	closed.fd = fd;
	if (poll(&closed, 1, 10000) != 1)
		die("wait for the server to close");
	return fd;
}

int main(int argc, char **argv)
{
	begin();
	start_thread(goodbye_server, (void *)(intptr_t)tcp_listener(&goodbye_port));
	return leaker_main(argc, argv, leak_here_closewait);
}
