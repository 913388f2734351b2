/* The frame of the leaking programs: leak at a steady rate beside healthy
 * traffic, or leak a number at once and then only on command.
 *
 *   --interval-ms N     one leak every N ms (default 500)
 *   --pre N             leak N before saying "ready"
 *   --then-on-command   after "ready", leak only when told
 *
 * The line "one" leaks one socket and answers "ok FD". */
#ifndef LEAKER_H
#define LEAKER_H

#include "workload.h"

/* Every tenth of a second a connection that opens, talks and closes, beside
 * one that is kept and used. */
static void *healthy_traffic(void *arg)
{
	uint16_t port = (uint16_t)(uintptr_t)arg;
	int kept = tcp_connect(port);

	for (;;) {
		int fd = tcp_connect(port);

		if (!ask(fd) || !ask(kept))
			die("healthy traffic");
		close(fd);
		sleep_ms(100);
	}
	return NULL;
}

static int leaker_main(int argc, char **argv, int (*leak)(void))
{
	int interval = 500, pre = 0;
	bool on_command = false;
	uint16_t port;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--then-on-command") == 0)
			on_command = true;
		else if (strcmp(argv[i], "--interval-ms") == 0 && i + 1 < argc)
			interval = atoi(argv[++i]);
		else if (strcmp(argv[i], "--pre") == 0 && i + 1 < argc)
			pre = atoi(argv[++i]);
		else
			return 2;
	}
	for (int i = 0; i < pre; i++)
		leak();
	start_thread(echo_server, (void *)(intptr_t)tcp_listener(&port));
	start_thread(healthy_traffic, (void *)(uintptr_t)port);
	say("ready");
	for (;;) {
		struct pollfd in = {STDIN_FILENO, POLLIN, 0};
		char line[64], reply[64];
		int n = poll(&in, 1, on_command ? -1 : interval);

		if (n < 0)
			die("poll");
		if (n == 0) {
			leak();
			continue;
		}
		if (!read_line(STDIN_FILENO, line, sizeof line) || strcmp(line, "one") != 0)
			return 0;
		snprintf(reply, sizeof reply, "ok %d", leak());
		say(reply);
	}
}

#endif
