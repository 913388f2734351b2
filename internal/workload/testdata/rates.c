/* Makes sockets faster than stacks are taken.
 *
 *   hot N     N sockets made and closed by one function
 *   rare N    and by another
 *   leak N    as hot, and after each hundredth another function makes one that
 *             stays open
 *   deep N    N sockets made and closed, each one function deeper than the last
 *
 * All call socket by way of the same function. Each answers "ok 0" when it is done. */
#include "workload.h"

__attribute__((noinline)) static int make(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* The text keeps the compiler from making one function of them. */
#define MAKES(name)                                                                                \
	__attribute__((noinline)) static int name(void)                                            \
	{                                                                                          \
		int fd = make();                                                                   \
                                                                                                   \
		__asm__ volatile("# " #name);                                                      \
		return fd;                                                                         \
	}

MAKES(make_hot)
MAKES(make_rare)
MAKES(leak_here_rates) /* LEAK */

__attribute__((noinline)) static int make_deep(long n)
{
	int fd = n ? make_deep(n - 1) : make();

	__asm__ volatile("" ::: "memory");
	return fd;
}

int main(void)
{
	char line[64];

	begin();
	say("ready");
	while (read_line(STDIN_FILENO, line, sizeof line) && strcmp(line, "quit") != 0) {
		long n = atol(line + 5);

		if (strncmp(line, "rare ", 5) == 0) {
			while (n--)
				close(make_rare());
		} else if (strncmp(line, "deep ", 5) == 0) {
			for (long i = 1; i <= n; i++)
				close(make_deep(i));
		} else if (strncmp(line, "leak ", 5) == 0) {
			for (long i = 1; i <= n; i++) {
				close(make_hot());
				if (i % 100 == 0)
					leak_here_rates();
			}
		} else {
			for (n = atol(line + 4); n > 0; n--)
				close(make_hot());
		}
		say("ok 0");
	}
	return 0;
}
