/* Makes a socket in a signal handler, ten times a second. */
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

__attribute__((noinline)) static void on_alarm(int number)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* SOCKET */

	close(fd);
	(void)number;
}

__attribute__((noinline)) static void wait_for_it(void)
{
	for (;;)
		pause();
}

int main(void)
{
	struct sigaction act = {.sa_handler = on_alarm};
	struct itimerval every = {{0, 100000}, {0, 100000}};

	if (sigaction(SIGALRM, &act, NULL) || setitimer(ITIMER_REAL, &every, NULL))
		abort();
	wait_for_it();
}
