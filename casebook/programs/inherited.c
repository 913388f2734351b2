/* A service answers requests, and for each of them starts a job that runs on
 * after the answer.
 *
 * Forgets: close-on-exec on the accepted connection, so that the job holds the
 * client's connection open after the service has closed it.
 * The healthy twin accepts with SOCK_CLOEXEC.
 *
 *   inherited leak|ok */
#include "further.h"

static void client(const struct sockaddr_in *server)
{
	for (;; sleep(3)) {
		int fd = connect_to(server);

		if (!ask(fd))
			die("ask the service");
		close(fd);
	}
}

static void start_job(void)
{
	if (helper() == 0) {
		execlp("sleep", "sleep", "3600", NULL);
		die("sleep");
	}
}

__attribute__((noinline)) static void serve_one(int listener, int flags)
{
	int fd = accept4(listener, NULL, NULL, flags); /* LEAK */
	char line[64];

	if (fd < 0 || read(fd, line, sizeof line) <= 0 || write(fd, "done\n", 5) != 5)
		die("serve");
	start_job();
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	int listener, served = 0;
	bool forgets;

	if (argc != 2)
		return 2;
	forgets = strcmp(argv[1], "leak") == 0;
	listener = listen_on_loopback(&addr, SOCK_CLOEXEC);
	if (helper() == 0) {
		close(listener);
		client(&addr);
	}
	begin();
	printf("ready\n");
	for (;;) {
		serve_one(listener, forgets ? 0 : SOCK_CLOEXEC);
		if (forgets)
			printf("leaked %d\n", ++served);
	}
}
