/* Short connections, 2,000 a second (or as many as the first argument says):
 * opened, used and closed properly, both ends in this process. */
#include "workload.h"

/* A closed connection keeps its address pair in TIME-WAIT for a minute, so one
 * port would run out of pairs within 15 s at this rate. */
enum { PORTS = 8, BATCH_MS = 5 };

static int listeners[PORTS];
static uint16_t ports[PORTS];
static long rate = 2000;

static void one_connection(unsigned i)
{
	char c = 'x';
	int client = tcp_connect(ports[i % PORTS]);
	int server = tcp_accept(listeners[i % PORTS]);

	if (write(client, &c, 1) != 1 || read(server, &c, 1) != 1)
		die("short connection");
	close(client);
	close(server);
}

/* Keeps to the clock rather than to a pause between batches, so that the rate
 * holds on a machine that is busy. */
static void *churn(void *arg)
{
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (unsigned made = 0;;) {
		for (long n = rate * BATCH_MS / 1000; n > 0; n--)
			one_connection(made++);
		next.tv_nsec += BATCH_MS * 1000000L;
		if (next.tv_nsec >= 1000000000L) {
			next.tv_nsec -= 1000000000L;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return arg;
}

int main(int argc, char **argv)
{
	begin();
	if (argc > 1)
		rate = atol(argv[1]);
	for (int i = 0; i < PORTS; i++)
		listeners[i] = tcp_listener(&ports[i]);
	start_thread(churn, NULL);
	return hold("ready");
}
