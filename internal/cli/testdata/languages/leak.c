/* Leaks COUNT sockets, PAUSE ms apart, and ends. C and C++. What is defined says from
 * where: IN_THREAD, a thread for each; IN_SIGNAL, a handler; DEEP, that many calls. With
 * DELETED the executable is gone by then. */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) static int leak_here(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* LEAK */

	__asm__ volatile("" ::: "memory");
	return fd;
}

#if defined IN_THREAD
static void *in_thread(void *unused)
{
	leak_here();
	return unused;
}
#elif defined IN_SIGNAL
static void on_signal(int number)
{
	(void)number;
	leak_here();
	__asm__ volatile("" ::: "memory"); /* no jump to it */
}
#elif defined DEEP
__attribute__((noinline)) int deep(int n)
{
	int fd = n ? deep(n - 1) : leak_here();

	__asm__ volatile("" ::: "memory");
	return fd;
}
#endif

static void leak(void)
{
#if defined IN_THREAD
	pthread_t thread;

	if (pthread_create(&thread, NULL, in_thread, NULL) || pthread_join(thread, NULL))
		abort();
#elif defined IN_SIGNAL
	if (signal(SIGUSR1, on_signal) == SIG_ERR || raise(SIGUSR1))
		abort();
#elif defined DEEP
	deep(DEEP - 1);
#else
	leak_here();
#endif
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1, pause = argc > 2 ? atoi(argv[2]) : 0;

#ifdef DELETED
	char exe[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (length < 0)
		abort();
	exe[length] = 0;
	if (unlink(exe))
		abort();
#endif
	while (count--) {
		leak();
		usleep(pause * 1000);
	}
}
