/* A program logs to a daemon over an AF_UNIX stream socket.
 *
 * Forgets: the connection on every reconnect. With "keep" the daemon keeps its
 * side open; with "gone" it closes, as a daemon does that was restarted, and
 * the state of ours stays the same.
 * The healthy twin closes before it connects anew.
 *
 *   unix_client leak|ok keep|gone PATH */
#include "further.h"

__attribute__((noinline)) static int connect_to_daemon(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* LEAK */
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof addr.sun_path)
		die(path);
	strcpy(addr.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		die("connect to the daemon");
	return fd;
}

int main(int argc, char **argv)
{
	const char *line;
	int leaked = 0;
	bool forgets;

	if (argc != 4)
		return 2;
	begin();
	forgets = strcmp(argv[1], "leak") == 0;
	line = strcmp(argv[2], "gone") == 0 ? "bye\n" : "ping\n";
	printf("peer %s\nready\n", argv[3]);
	for (;; sleep(1)) {
		int fd = connect_to_daemon(argv[3]);
		char answer[64];

		if (write(fd, line, strlen(line)) < 0 || read(fd, answer, sizeof answer) <= 0)
			die("log a line");
		if (forgets)
			printf("leaked %d\n", ++leaked);
		else
			close(fd);
	}
}
