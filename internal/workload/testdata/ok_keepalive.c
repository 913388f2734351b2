/* A keep-alive server under load, with a thread for each connection. Its
 * client is a process of its own: connections are used again and again, and
 * five a second are closed and opened anew. */
#include "workload.h"

enum { CONNECTIONS = 8 };

static void client(uint16_t port, int listener)
{
	int fds[CONNECTIONS];

	close(listener);
	for (int i = 0; i < CONNECTIONS; i++)
		fds[i] = tcp_connect(port);
	for (unsigned round = 0;; round++) {
		for (int i = 0; i < CONNECTIONS; i++)
			if (!ask(fds[i]))
				exit(0); /* the server ended */
		if (round % 50 == 49) {
			int *old = &fds[round / 50 % CONNECTIONS];

			close(*old);
			*old = tcp_connect(port);
		}
		sleep_ms(4);
	}
}

int main(void)
{
	uint16_t port;
	int listener;

	begin();
	listener = tcp_listener(&port);
	switch (fork()) {
	case -1:
		die("fork");
	case 0:
		alarm(LIFETIME_S);
		client(port, listener);
	}
	for (int i = 0; i < CONNECTIONS; i++)
		start_thread(echo, (void *)(intptr_t)tcp_accept(listener));
	start_thread(echo_server, (void *)(intptr_t)listener);
	return hold("ready");
}
