/* Does to descriptors what it is told, a line at a time, and answers each with
 * "ok RESULT" or "err ERRNO". Sockets have the lowest free numbers from 3 on.
 * System calls that libc may replace by others are made directly.
 *
 *   socket tcp|tcp6|udp|udp6|unix|netlink [cloexec] [nonblock]   ok FD
 *   socketpair [cloexec]                   ok FD FD
 *   bind FD [v6]                           ok ADDRESS (for connect)
 *   listen FD [BACKLOG]
 *   accept FD, accept4 FD [cloexec] [nonblock]
 *   connect FD ADDRESS|refused|unspec [nonblock] [v6]
 *   shutdown FD
 *   write FD                               one byte
 *   close FD
 *   close_range FIRST LAST [unshare] [cloexec]
 *   dup FD, dup2 FD TO, dup3 FD TO [cloexec]
 *   fcntl_dupfd FD MIN [cloexec], setcloexec FD
 *   scm_send FD N, scm_recv FD [cloexec], pidfd_getfd PID N
 *   unshare                                CLONE_FILES
 *   fork [shared]                          ok CHILD PID
 *   child CHILD COMMAND, reap CHILD
 *   worker                                 ok WORKER TID
 *   in WORKER COMMAND, end WORKER
 *   start WORKER COMMAND, wait WORKER      without waiting; its answer
 *   thread COMMAND, thread_unshare COMMAND
 *   vfork_exec_true, posix_spawn, exec self|PATH [ARG...], exit
 */
#include "fdops.h"
#include "fdops_net.h"
#include "fdops_tasks.h"

#include <linux/close_range.h>
#include <linux/netlink.h>

static long open_socket(char **words)
{
	static const struct {
		const char *name;
		int family, type, protocol;
	} kinds[] = {
		{"tcp", AF_INET, SOCK_STREAM, 0},
		{"tcp6", AF_INET6, SOCK_STREAM, 0},
		{"udp", AF_INET, SOCK_DGRAM, 0},
		{"udp6", AF_INET6, SOCK_DGRAM, 0},
		{"unix", AF_UNIX, SOCK_STREAM, 0},
		{"netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE},
	};
	int flags = (has_word(words, "cloexec") ? SOCK_CLOEXEC : 0) |
		    (has_word(words, "nonblock") ? SOCK_NONBLOCK : 0);

	for (size_t i = 0; words[0] && i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(words[0], kinds[i].name) == 0)
			return socket(kinds[i].family, kinds[i].type | flags, kinds[i].protocol);
	errno = EINVAL;
	return -1;
}

static void open_pair(char **words, char reply[REPLY])
{
	int fds[2], type = SOCK_STREAM | (has_word(words, "cloexec") ? SOCK_CLOEXEC : 0);

	if (socketpair(AF_UNIX, type, 0, fds) < 0)
		answer(reply, "err %d", errno);
	else
		answer(reply, "ok %d %d", fds[0], fds[1]);
}

static long old_dup2(int fd, int to)
{
#ifdef SYS_dup2
	return syscall(SYS_dup2, fd, to);
#else
	return dup2(fd, to); /* arm64 has dup3 alone, which libc makes it of */
#endif
}

/* Commands about one descriptor, with up to one more number. False if the verb
 * is none of them. */
static bool on_descriptor(const char *verb, int a, int b, char **flags, char reply[REPLY])
{
	bool cloexec = has_word(flags, "cloexec");
	long r;

	if (strcmp(verb, "listen") == 0)
		r = listen(a, b);
	else if (strcmp(verb, "accept") == 0)
		r = syscall(SYS_accept, a, NULL, NULL);
	else if (strcmp(verb, "accept4") == 0)
		r = syscall(SYS_accept4, a, NULL, NULL,
			    (cloexec ? SOCK_CLOEXEC : 0) | (has_word(flags, "nonblock") ? SOCK_NONBLOCK : 0));
	else if (strcmp(verb, "shutdown") == 0)
		r = shutdown(a, SHUT_WR);
	else if (strcmp(verb, "write") == 0)
		r = write(a, "x", 1);
	else if (strcmp(verb, "close") == 0)
		r = syscall(SYS_close, a);
	else if (strcmp(verb, "close_range") == 0)
		r = syscall(SYS_close_range, a, b,
			    (cloexec ? CLOSE_RANGE_CLOEXEC : 0) |
				    (has_word(flags, "unshare") ? CLOSE_RANGE_UNSHARE : 0));
	else if (strcmp(verb, "dup") == 0)
		r = syscall(SYS_dup, a);
	else if (strcmp(verb, "dup2") == 0)
		r = old_dup2(a, b);
	else if (strcmp(verb, "dup3") == 0)
		r = syscall(SYS_dup3, a, b, cloexec ? O_CLOEXEC : 0);
	else if (strcmp(verb, "fcntl_dupfd") == 0)
		r = fcntl(a, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, b);
	else if (strcmp(verb, "setcloexec") == 0)
		r = fcntl(a, F_SETFD, FD_CLOEXEC);
	else if (strcmp(verb, "scm_send") == 0)
		r = send_fd(a, b);
	else if (strcmp(verb, "scm_recv") == 0)
		r = receive_fd(a, cloexec);
	else if (strcmp(verb, "pidfd_getfd") == 0)
		r = take_fd(a, b);
	else
		return false;
	result(reply, r);
	return true;
}

/* Commands that hand the rest of the line to somebody else. False if the verb
 * is none of them. */
static bool on_task(const char *verb, const char *rest, char reply[REPLY])
{
	if (strcmp(verb, "child") == 0)
		do_child(rest, reply);
	else if (strcmp(verb, "thread") == 0)
		do_thread(rest, false, reply);
	else if (strcmp(verb, "thread_unshare") == 0)
		do_thread(rest, true, reply);
	else if (strcmp(verb, "in") == 0 || strcmp(verb, "start") == 0 ||
		 strcmp(verb, "wait") == 0 || strcmp(verb, "end") == 0)
		do_worker(verb, rest, reply);
	else
		return false;
	return true;
}

/* Commands about this thread or process as a whole. */
static void on_self(char **words, char reply[REPLY])
{
	const char *verb = words[0];
	struct worker *w;

	if (strcmp(verb, "fork") == 0)
		do_fork(words, reply);
	else if (strcmp(verb, "reap") == 0)
		do_reap(words, reply);
	else if (strcmp(verb, "worker") == 0)
		(w = new_worker()) ? answer(reply, "ok %d %d", worker_count - 1, (int)w->tid)
				   : answer(reply, "err %d", EAGAIN);
	else if (strcmp(verb, "unshare") == 0)
		result(reply, unshare(CLONE_FILES));
	else if (strcmp(verb, "vfork_exec_true") == 0)
		do_vfork(reply);
	else if (strcmp(verb, "posix_spawn") == 0)
		do_spawn(reply);
	else if (strcmp(verb, "exec") == 0)
		do_exec(words, reply);
	else if (strcmp(verb, "exit") == 0)
		put_line(out_fd, "ok"), exit(0);
	else
		answer(reply, "err %d", EINVAL);
}

static void obey(const char *line, char reply[REPLY])
{
	char copy[LINE], *save, *words[WORDS + 1] = {NULL};
	const char *space = strchr(line, ' ');
	int n = 0;

	snprintf(copy, sizeof copy, "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w && n < WORDS; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	if (n == 0)
		answer(reply, "err %d", EINVAL);
	else if (strcmp(words[0], "socket") == 0)
		result(reply, open_socket(words + 1));
	else if (strcmp(words[0], "socketpair") == 0)
		open_pair(words + 1, reply);
	else if (strcmp(words[0], "bind") == 0 && n > 1)
		do_bind(atoi(words[1]), has_word(words, "v6"), reply);
	else if (strcmp(words[0], "connect") == 0 && n > 2)
		do_connect(atoi(words[1]), words + 2, reply);
	else if (on_task(words[0], space ? space + 1 : "", reply))
		return;
	else if (n == 1 || !on_descriptor(words[0], atoi(words[1]), n > 2 ? atoi(words[2]) : 0,
					  words + 1, reply))
		on_self(words, reply);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "resume") == 0) {
		in_fd = atoi(argv[2]);
		out_fd = atoi(argv[3]);
		put_line(out_fd, "ok exec");
	} else {
		begin();
		in_fd = move_up(dup(STDIN_FILENO));
		out_fd = move_up(dup(STDOUT_FILENO));
		put_line(out_fd, "ready");
	}
	serve();
}
