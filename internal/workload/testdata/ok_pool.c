/* A pool of connections, grown at the start, then idle for 20 s and busy for 5,
 * in turn. The first argument, if any, is the idle time in ms. */
#include "workload.h"

enum { POOL = 16, BUSY_ROUNDS = 500 };

static int pool[POOL];
static long idle_ms = 20000;

static void *use(void *arg)
{
	for (;;) {
		for (int round = 0; round < BUSY_ROUNDS; round++) {
			if (!ask(pool[round % POOL]))
				die("pooled connection");
			sleep_ms(10);
		}
		sleep_ms(idle_ms);
	}
	return arg;
}

int main(int argc, char **argv)
{
	uint16_t port;
	int listener;

	begin();
	if (argc > 1)
		idle_ms = atol(argv[1]);
	listener = tcp_listener(&port);
	for (int i = 0; i < POOL; i++) {
		pool[i] = tcp_connect(port);
		start_thread(echo, (void *)(intptr_t)tcp_accept(listener));
	}
	start_thread(use, NULL);
	return hold("ready");
}
