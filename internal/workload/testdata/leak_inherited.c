/* Starts a job every few milliseconds, each of which inherits a socket that only the
 * parent uses, and closes.
 *
 * With "hold" as its only argument it is a job. */
#include "workload.h"

#include <sys/prctl.h>

LEAKS static void leak_here_inherited(char **job)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* LEAK */
	pid_t parent = getpid(), pid = fork();

	if (fd < 0 || pid < 0)
		die("start a job");
	if (pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
			exec_again(job);
		_exit(1);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	char *job[] = {argv[0], "hold", NULL};
	struct pollfd over = {STDIN_FILENO, POLLIN, 0};

	begin();
	if (argc == 2 && strcmp(argv[1], "hold") == 0)
		return pause();
	signal(SIGCHLD, SIG_IGN);
	say("ready");
	while (poll(&over, 1, 10) == 0)
		leak_here_inherited(job);
	return 0;
}
