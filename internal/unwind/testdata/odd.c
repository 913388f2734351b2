/* Makes sockets where a stack is odd, ten times a second. Built without frame
 * pointers. The argument says where: "signal", "altstack", "thread", "large"
 * (frames that are larger than what is copied), "edge" (right above a page that isn't
 * there), "once" (one socket, then it exits).
 * "hot" and "cold" are for benchmarks: as many sockets as the next argument says,
 * from one stack, or each from another; they print the ns that one took. */
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

__attribute__((noinline)) int make_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* SOCKET */

	__asm__ volatile("" ::: "memory");
	return fd;
}

static void on_signal(int number)
{
	(void)number;
	close(make_socket());
}

__attribute__((noinline)) void interrupted(void)
{
	if (raise(SIGUSR1))
		abort();
	__asm__ volatile("" ::: "memory");
}

static void *in_thread(void *unused)
{
	close(make_socket());
	return unused;
}

__attribute__((noinline)) int large(int n)
{
	volatile char room[1024];
	int fd;

	room[n] = 1;
	fd = n ? large(n - 1) : make_socket();
	__asm__ volatile("" ::: "memory");
	return fd + room[n] - 1;
}

/* As it is where a program never had a deeper stack than this, and some sizes of the
 * frames before. */
__attribute__((noinline)) int edge(void)
{
	uintptr_t top = (uintptr_t)alloca(16);
	char *low = alloca((top - 80) % 4096);
	int fd;

	low[0] = 1;
	if (madvise((void *)(((uintptr_t)low & -4096) - 4096), 4096, MADV_DONTNEED))
		abort();
	fd = make_socket();
	__asm__ volatile("" : : "r"(low) : "memory");
	return fd;
}

__attribute__((noinline)) int varied(unsigned bits, int depth)
{
	volatile char room[24];
	int fd;

	room[0] = 1;
	if (!depth)
		fd = make_socket();
	else if (bits & 1)
		fd = varied(bits >> 1, depth - 1);
	else
		fd = 1 + varied(bits >> 1, depth - 1) - room[0];
	__asm__ volatile("" ::: "memory");
	return fd;
}

static void many(int sockets, int cold)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (int i = 0; i < sockets; i++)
		close(varied(cold ? i : 0, 16));
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / sockets);
}

static void once(const char *where)
{
	pthread_t thread;

	if (!strcmp(where, "thread")) {
		if (pthread_create(&thread, NULL, in_thread, NULL) || pthread_join(thread, NULL))
			abort();
	} else if (!strcmp(where, "large")) {
		close(large(20));
	} else if (!strcmp(where, "edge")) {
		close(edge());
	} else if (!strcmp(where, "once")) {
		make_socket();
		exit(0);
	} else {
		interrupted();
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	stack_t other = {.ss_sp = malloc(1 << 16), .ss_size = 1 << 16};
	const char *where = argc > 1 ? argv[1] : "once";

	if (argc > 2) {
		many(atoi(argv[2]), !strcmp(where, "cold"));
		return 0;
	}
	if (!strcmp(where, "altstack")) {
		action.sa_flags = SA_ONSTACK;
		if (sigaltstack(&other, NULL))
			abort();
	}
	if (sigaction(SIGUSR1, &action, NULL))
		abort();
	for (;;) {
		once(where);
		usleep(100000);
	}
}
