/* Accepts all connections in one place and forgets those that end in one of two
 * functions: which, the first byte says. Nothing of it has frame pointers.
 *
 *   serve N    N connections of each kind, one after the other; answers "ok 0"
 *              when all have ended */
#pragma GCC optimize("omit-frame-pointer")
#include "workload.h"
#include <semaphore.h>

static sem_t ended;

LEAKS static void close_at_end(int fd)
{
	char buf[64];

	while (read(fd, buf, sizeof buf) > 0)
		;
	close(fd);
}

LEAKS static void forget_at_end(int fd)
{
	char buf[64];

	while (read(fd, buf, sizeof buf) > 0) /* LEAK */
		;
}

static void *server(void *arg)
{
	for (;;) {
		int fd = tcp_accept((int)(intptr_t)arg);
		char kind;

		if (read(fd, &kind, 1) != 1)
			die("read");
		if (kind == 'f')
			forget_at_end(fd);
		else
			close_at_end(fd);
		sem_post(&ended);
	}
	return NULL;
}

static void talk(uint16_t port, char kind)
{
	char words[] = {kind, '!'};
	int fd = tcp_connect(port);

	if (write(fd, words, sizeof words) != sizeof words)
		die("write");
	close(fd);
	while (sem_wait(&ended) < 0)
		;
}

int main(void)
{
	uint16_t port;
	char line[64];

	begin();
	sem_init(&ended, 0, 0);
	start_thread(server, (void *)(intptr_t)tcp_listener(&port));
	say("ready");
	while (read_line(STDIN_FILENO, line, sizeof line) && strncmp(line, "serve ", 6) == 0) {
		for (long n = atol(line + 6); n > 0; n--) {
			talk(port, 'c');
			talk(port, 'f');
		}
		say("ok 0");
	}
	return 0;
}
