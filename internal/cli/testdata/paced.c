/* Makes and closes so many sockets a second, and works between them. Each line is
 * the mean time of the calls for one socket in a twentieth of a second, in ns. The
 * work is not in it: its speed changes more with what else the machine does than
 * with tracing.
 *
 *   paced RATE */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
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

/* The mean time of the calls; what took so long that the thread must have been
 * taken off the CPU meanwhile is left out. */
static uint64_t round_ns(uint64_t steps, int sockets)
{
	uint64_t sum = 0;
	int counted = 0;

	for (int i = 0; i < sockets; i++) {
		uint64_t begun = now_ns(), took;

		if (close(make_socket()))
			exit(1);
		took = now_ns() - begun;
		if (took < 100000) {
			sum += took;
			counted++;
		}
		work(steps);
	}
	return counted ? sum / (uint64_t)counted : 0;
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
		uint64_t begun = now_ns();

		work(spin);
		steps = (all - bare) * spin / (now_ns() - begun);
	}
	for (;;) {
		printf("%llu\n", (unsigned long long)round_ns(steps, rate / 20 + 1));
		if (fflush(stdout))
			return 0;
	}
}
