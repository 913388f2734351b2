/* Healthy: a server that was started with its listener as descriptor 3, as
 * systemd does (LISTEN_FDS), and forks four workers that all accept from it,
 * blocked in accept(2). The master talks to each worker over a socketpair, once
 * a minute. A process of its own connects, asks and closes, and keeps some idle
 * connections that the workers' threads wait on.
 *
 *   prefork                  binds, and starts itself anew with the listener */
#include "further.h"
#include <fcntl.h>
#include <poll.h>

enum { LISTENER = 3, WORKERS = 4, IDLE = 6 };

static void client(const struct sockaddr_in *server)
{
	int idle[IDLE];

	for (int i = 0; i < IDLE; i++)
		idle[i] = connect_to(server);
	for (;; usleep(200000)) {
		int fd = connect_to(server);

		if (!ask(fd))
			die("ask the server");
		close(fd);
	}
	close(idle[0]);
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char line[64];
	ssize_t n;

	while ((n = read(fd, line, sizeof line)) > 0 && write(fd, line, (size_t)n) == n)
		;
	close(fd);
	return NULL;
}

static void *answer_master(void *arg)
{
	return serve(arg);
}

static void start(void *(*run)(void *), int fd)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, (void *)(intptr_t)fd) != 0)
		die("pthread_create");
	pthread_detach(thread);
}

static void worker(int master)
{
	start(answer_master, master);
	for (;;) {
		int fd = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			die("accept");
		start(serve, fd);
	}
}

/* What systemd does: the listener becomes descriptor 3 of the service. */
static void activate(char **argv)
{
	struct sockaddr_in addr;
	int fd = listen_on_loopback(&addr, SOCK_CLOEXEC);
	char text[16];

	snprintf(text, sizeof text, "%u", ntohs(addr.sin_port));
	if ((fd == LISTENER ? fcntl(fd, F_SETFD, 0) : dup2(fd, LISTENER)) < 0 || setenv("LISTEN_FDS", "1", 1) < 0)
		die("hand the listener over");
	execl("/proc/self/exe", argv[0], text, NULL);
	die("exec");
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = address("127.0.0.1:0");
	int workers[WORKERS], pair[2];

	if (argc < 2 || !getenv("LISTEN_FDS"))
		activate(argv);
	addr.sin_port = htons((uint16_t)atoi(argv[1]));
	if (helper() == 0) {
		close(LISTENER);
		client(&addr);
	}
	for (int i = 0; i < WORKERS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			die("socketpair");
		if (helper() == 0) {
			for (int before = 0; before < i; before++)
				close(workers[before]);
			close(pair[0]);
			worker(pair[1]);
		}
		close(pair[1]);
		workers[i] = pair[0];
	}
	begin();
	printf("ready\n");
	for (;; sleep(60))
		for (int i = 0; i < WORKERS; i++)
			if (!ask(workers[i]))
				die("ask a worker");
}
