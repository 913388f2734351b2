/* A client reads and writes with stdio. Two FILEs on one descriptor would close
 * it twice, so the one for writing gets a copy, made with dup(2).
 *
 * Forgets: to close the one for writing after the answer. The socket stays open
 * by its second descriptor, and the server has long gone.
 * The healthy twin closes both.
 *
 *   dup_forgotten leak|ok ADDRESS */
#include "further.h"

static bool forgets;

__attribute__((noinline)) static int ask_by_stdio(const struct sockaddr_in *server)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* LEAK */
	FILE *in, *out;
	char line[64];

	if (fd < 0 || connect(fd, (const struct sockaddr *)server, sizeof *server) < 0)
		die("connect");
	in = fdopen(fd, "r");
	out = fdopen(dup(fd), "w");
	if (!in || !out)
		die("fdopen");
	if (fputs("bye\n", out) == EOF || fflush(out) == EOF || !fgets(line, sizeof line, in))
		die("ask");
	fclose(in);
	if (!forgets)
		fclose(out);
	return forgets;
}

int main(int argc, char **argv)
{
	struct sockaddr_in server;
	int leaked = 0;

	if (argc != 3)
		return 2;
	begin();
	forgets = strcmp(argv[1], "leak") == 0;
	server = address(argv[2]);
	printf("peer %s\nready\n", argv[2]);
	for (;; sleep(1))
		if (ask_by_stdio(&server))
			printf("leaked %d\n", ++leaked);
}
