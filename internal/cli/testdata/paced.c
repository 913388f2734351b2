/* Makes and closes so many sockets a second, and between them does work that takes
 * one core: what slows the calls down shows in the CPU time of a round. Each line
 * is the mean CPU time per socket of a twentieth of a second, in ns.
 *
 *   paced RATE */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void work(uint64_t steps)
{
	while (steps--)
		__asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) int make_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	__asm__ volatile("" ::: "memory");
	return fd;
}

static uint64_t round_ns(uint64_t steps, int sockets)
{
	uint64_t begun = cpu_ns();

	for (int i = 0; i < sockets; i++) {
		int fd = make_socket();

		if (fd < 0)
			exit(1);
		work(steps);
		close(fd);
	}
	return (cpu_ns() - begun) / (uint64_t)sockets;
}

int main(int argc, char **argv)
{
	int rate = argc > 1 ? atoi(argv[1]) : 0;
	uint64_t steps, bare, all, spin = 1000000;

	puts("ready");
	fflush(stdout);
	if (rate <= 0)
		for (;;)
			pause();
	/* The steps that fill what socket and close leave of the time. */
	all = 1000000000 / (uint64_t)rate;
	bare = round_ns(0, 20000);
	{
		uint64_t begun = cpu_ns();

		work(spin);
		steps = (all - bare) * spin / (cpu_ns() - begun);
	}
	for (;;) {
		printf("%llu\n", (unsigned long long)round_ns(steps, rate / 20 + 1));
		if (fflush(stdout))
			return 0;
	}
}
