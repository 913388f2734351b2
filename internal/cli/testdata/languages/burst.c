/* The same as burst.py, in C. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define DEPTH 14

__attribute__((noinline)) int leak_here(unsigned path, int depth)
{
	int fd;

	if (!depth)
		fd = socket(AF_INET, SOCK_STREAM, 0);
	else
		fd = path & 1 ? leak_here(path >> 1, depth - 1) : leak_here(path >> 1, depth - 1) ^ 1;
	__asm__ volatile("" ::: "memory");
	return fd;
}

static void await(int last)
{
	int c;

	do
		c = getchar();
	while (c != last && c != EOF);
}

int main(int argc, char **argv)
{
	struct rlimit most;
	int count = argc > 1 ? atoi(argv[1]) : 1;

	if (getrlimit(RLIMIT_NOFILE, &most))
		abort();
	most.rlim_cur = most.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &most))
		abort();
	puts("ready");
	fflush(stdout);
	await('\n');
	for (int i = 0; i < count; i++)
		leak_here(i, DEPTH);
	puts("ok");
	fflush(stdout);
	await(EOF);
}
