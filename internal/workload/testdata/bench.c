/* What the benchmarks measure.
 *
 *   round N     N times connect, accept and close twice, on loopback; answers
 *               "ok NS", the nanoseconds of one
 *   talk N      N times a write and a read of one byte; answers as round, but in
 *               CPU time of the thread, which others that run beside don't change
 *   ends N      N times a read that says that there is no more; answers as talk
 *   sockets N   N TCP sockets, held by as many processes as it takes */
#include "workload.h"

static uint16_t port;
static int listener;

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

static uint64_t cpu_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t measure(long n)
{
	/* Reset at close: no TIME-WAIT that would use up the address pairs. */
	struct linger reset = {1, 0};
	uint64_t start = now_ns();

	for (long i = 0; i < n; i++) {
		int client = tcp_connect(port), server = tcp_accept(listener);

		setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(client);
		close(server);
	}
	return (now_ns() - start) / (uint64_t)n;
}

static uint64_t measure_talk(long n)
{
	uint64_t start, taken;
	int pair[2];
	char c = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		die("socketpair");
	start = cpu_ns();
	for (long i = 0; i < n; i++)
		if (write(pair[0], &c, 1) != 1 || read(pair[1], &c, 1) != 1)
			die("talk");
	taken = cpu_ns() - start;
	close(pair[0]);
	close(pair[1]);
	return taken / (uint64_t)n;
}

static uint64_t measure_ends(long n)
{
	uint64_t start, taken;
	int pair[2];
	char c;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		die("socketpair");
	close(pair[0]);
	start = cpu_ns();
	for (long i = 0; i < n; i++)
		if (read(pair[1], &c, 1) != 0)
			die("read the end");
	taken = cpu_ns() - start;
	close(pair[1]);
	return taken / (uint64_t)n;
}

static void hold_sockets(long n)
{
	enum { EACH = 10000 };

	for (; n > 0; n -= EACH) {
		int ready[2];
		char c = 0;
		pid_t pid;

		if (pipe(ready) < 0 || (pid = fork()) < 0)
			die("fork");
		if (pid == 0) {
			for (long i = 0; i < n && i < EACH; i++)
				if (socket(AF_INET, SOCK_STREAM, 0) < 0)
					die("socket");
			if (write(ready[1], &c, 1) != 1)
				die("write");
			pause();
		}
		close(ready[1]);
		if (read(ready[0], &c, 1) != 1)
			die("a holder of sockets");
		close(ready[0]);
	}
}

int main(void)
{
	char line[64], reply[64];

	begin();
	listener = tcp_listener(&port);
	say("ready");
	while (read_line(STDIN_FILENO, line, sizeof line) && strcmp(line, "quit") != 0) {
		if (strncmp(line, "round ", 6) == 0) {
			snprintf(reply, sizeof reply, "ok %llu", (unsigned long long)measure(atol(line + 6)));
		} else if (strncmp(line, "talk ", 5) == 0) {
			snprintf(reply, sizeof reply, "ok %llu", (unsigned long long)measure_talk(atol(line + 5)));
		} else if (strncmp(line, "ends ", 5) == 0) {
			snprintf(reply, sizeof reply, "ok %llu", (unsigned long long)measure_ends(atol(line + 5)));
		} else {
			hold_sockets(atol(line + 8));
			snprintf(reply, sizeof reply, "ok 0");
		}
		say(reply);
	}
	return 0;
}
