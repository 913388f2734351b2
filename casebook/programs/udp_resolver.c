/* A resolver of its own: one UDP socket for each question, as resolvers do, so
 * that the port is a new one each time. Every third name does not exist.
 *
 * Forgets: to close when the answer is "no such name".
 * The healthy twin has one exit for both.
 *
 *   udp_resolver leak|ok ADDRESS */
#include "further.h"
#include <sys/time.h>

/* Returns whether the name exists. */
__attribute__((noinline)) static bool resolve(const struct sockaddr_in *server, const char *name, bool forgets)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* LEAK */
	struct timeval patience = {.tv_sec = 5};
	char answer[64] = "";

	if (fd < 0 || connect(fd, (const struct sockaddr *)server, sizeof *server) < 0)
		die("connect");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) < 0)
		die("setsockopt");
	if (send(fd, name, strlen(name), 0) < 0 || recv(fd, answer, sizeof answer - 1, 0) < 0)
		die("ask");
	if (strncmp(answer, "missing", 7) == 0) {
		if (!forgets)
			close(fd);
		return false;
	}
	close(fd);
	return true;
}

int main(int argc, char **argv)
{
	struct sockaddr_in server;
	int leaked = 0;
	bool forgets;

	if (argc != 3)
		return 2;
	begin();
	forgets = strcmp(argv[1], "leak") == 0;
	server = address(argv[2]);
	printf("peer %s\nready\n", argv[2]);
	for (int n = 0;; n++, usleep(300000))
		if (!resolve(&server, n % 3 ? "www.example" : "missing.example", forgets) && forgets)
			printf("leaked %d\n", ++leaked);
}
