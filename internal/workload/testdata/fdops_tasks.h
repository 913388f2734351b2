/* Who carries out a command: threads and processes of fdops, and what comes
 * after exec. */
#ifndef FDOPS_TASKS_H
#define FDOPS_TASKS_H

#include "fdops.h"

#include <sched.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

/* The pipes of the protocol lie above this number, out of the way of the
 * descriptors that commands make. */
enum { PIPES_FROM = 500, CHILDREN = 16, WORKERS = 32 };

static int in_fd, out_fd;

static struct child {
	pid_t pid;
	int to, from; /* our ends of its pipes */
} children[CHILDREN];
static int child_count;

static struct worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pid_t tid;
	bool busy, ending;
	char line[LINE], reply[REPLY];
} workers[WORKERS];
static int worker_count;

static void serve(void)
{
	char line[LINE], reply[REPLY];

	while (read_line(in_fd, line, sizeof line)) {
		obey(line, reply);
		if (!put_line(out_fd, reply))
			break;
	}
	exit(0);
}

static int move_up(int fd)
{
	int up = fcntl(fd, F_DUPFD, PIPES_FROM);

	if (up < 0)
		die("move a pipe out of the way");
	close(fd);
	return up;
}

/* Makes the pipes of child k; stores the child's own ends. */
static void make_pipes(struct child *c, int *in, int *out)
{
	int down[2], up[2];

	if (pipe(down) < 0 || pipe(up) < 0)
		die("pipe");
	*in = move_up(down[0]);
	c->to = move_up(down[1]);
	c->from = move_up(up[0]);
	*out = move_up(up[1]);
}

static void be_child(int in, int out, bool shared_table)
{
	alarm(LIFETIME_S);
	if (!shared_table) {
		/* Else the end of input would not be seen while a sibling lives. */
		for (int i = 0; i <= child_count; i++) {
			close(children[i].to);
			close(children[i].from);
		}
		close(in_fd);
		close(out_fd);
	}
	child_count = worker_count = 0;
	in_fd = in;
	out_fd = out;
	serve();
}

/* fork [shared]: a process that obeys "child K ...". Shared: one descriptor
 * table for both processes (CLONE_FILES without CLONE_THREAD). */
static void do_fork(char **words, char reply[REPLY])
{
	bool shared = has_word(words, "shared");
	struct child *c = &children[child_count];
	int in, out;

	if (child_count + 1 == CHILDREN) {
		answer(reply, "err %d", EAGAIN);
		return;
	}
	make_pipes(c, &in, &out);
	/* Zeroes for the rest, so that their order, which differs between
	 * architectures, doesn't matter. */
	c->pid = shared ? (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0) : fork();
	if (c->pid == 0)
		be_child(in, out, shared);
	if (!shared) {
		close(in);
		close(out);
	}
	if (c->pid < 0)
		answer(reply, "err %d", errno);
	else
		answer(reply, "ok %d %d", child_count++, (int)c->pid);
}

/* child K COMMAND: what the child answers, or "err 3" when it is gone. */
static void do_child(const char *rest, char reply[REPLY])
{
	char *line;
	long k = strtol(rest, &line, 10);

	if (k < 0 || k >= child_count)
		answer(reply, "err %d", EINVAL);
	else if (!put_line(children[k].to, line + 1) || !read_line(children[k].from, reply, REPLY))
		answer(reply, "err %d", ESRCH);
}

/* reap K: waits until the child is gone; answers its wait status. */
static void do_reap(char **words, char reply[REPLY])
{
	long k = words[1] ? atol(words[1]) : -1;
	int status;

	if (k < 0 || k >= child_count)
		answer(reply, "err %d", EINVAL);
	else if (waitpid(children[k].pid, &status, 0) < 0)
		answer(reply, "err %d", errno);
	else
		answer(reply, "ok %d", status);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	pthread_mutex_lock(&w->lock);
	w->tid = (pid_t)syscall(SYS_gettid);
	for (;;) {
		w->busy = false;
		pthread_cond_broadcast(&w->changed);
		while (!w->busy && !w->ending)
			pthread_cond_wait(&w->changed, &w->lock);
		if (w->ending)
			break;
		pthread_mutex_unlock(&w->lock);
		obey(w->line, w->reply);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void await_worker(struct worker *w)
{
	while (w->busy)
		pthread_cond_wait(&w->changed, &w->lock);
}

/* worker: a thread that obeys "in K ...". NULL when there are too many. */
static struct worker *new_worker(void)
{
	struct worker *w = &workers[worker_count];

	if (worker_count == WORKERS)
		return NULL;
	memset(w, 0, sizeof *w);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->changed, NULL);
	w->busy = true; /* until it runs */
	errno = pthread_create(&w->thread, NULL, work, w);
	if (errno != 0)
		return NULL;
	worker_count++;
	pthread_mutex_lock(&w->lock);
	await_worker(w);
	pthread_mutex_unlock(&w->lock);
	return w;
}

static void command_worker(struct worker *w, const char *line, bool wait, char reply[REPLY])
{
	pthread_mutex_lock(&w->lock);
	await_worker(w);
	snprintf(w->line, sizeof w->line, "%s", line);
	w->busy = true;
	pthread_cond_broadcast(&w->changed);
	if (wait) {
		await_worker(w);
		answer(reply, "%s", w->reply);
	} else {
		answer(reply, "ok %d", (int)w->tid);
	}
	pthread_mutex_unlock(&w->lock);
}

static void end_worker(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	await_worker(w);
	w->ending = true;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
}

/* in, start, wait, end: commands to the worker named by the first word. */
static void do_worker(const char *verb, const char *rest, char reply[REPLY])
{
	char *line;
	long k = strtol(rest, &line, 10);

	if (k < 0 || k >= worker_count) {
		answer(reply, "err %d", EINVAL);
		return;
	}
	if (strcmp(verb, "end") == 0) {
		end_worker(&workers[k]);
		answer(reply, "ok %ld", k);
	} else if (strcmp(verb, "wait") == 0) {
		pthread_mutex_lock(&workers[k].lock);
		await_worker(&workers[k]);
		answer(reply, "%s", workers[k].reply);
		pthread_mutex_unlock(&workers[k].lock);
	} else {
		command_worker(&workers[k], line + 1, strcmp(verb, "in") == 0, reply);
	}
}

/* thread COMMAND, thread_unshare COMMAND: in a thread that ends after it; the
 * latter has left the shared descriptor table first. */
static void do_thread(const char *rest, bool unshare_first, char reply[REPLY])
{
	struct worker *w = new_worker();

	if (!w) {
		answer(reply, "err %d", EAGAIN);
		return;
	}
	if (unshare_first)
		command_worker(w, "unshare", true, reply);
	command_worker(w, rest, true, reply);
	end_worker(w);
	worker_count--;
}

/* exec self: the same protocol goes on in a new image, which answers "ok exec".
 * exec PATH ARG...: answers first, for the other program can't. */
static void do_exec(char **words, char reply[REPLY])
{
	char in[12], out[12];
	char *again[] = {"fdops", "resume", in, out, NULL};

	snprintf(in, sizeof in, "%d", in_fd);
	snprintf(out, sizeof out, "%d", out_fd);
	if (words[1] && strcmp(words[1], "self") == 0) {
		exec_again(again);
	} else if (words[1] && access(words[1], X_OK) == 0 && put_line(out_fd, "ok")) {
		execv(words[1], words + 1);
		exit(127); /* the answer is given: there is no way back */
	}
	answer(reply, "err %d", errno);
}

/* The child borrows our memory until its exec, so that nothing but that is to
 * be done in it. */
static void do_vfork(char reply[REPLY])
{
	char *argv[] = {"true", NULL};
	int status;
	pid_t pid = vfork();

	if (pid == 0) {
		execv("/bin/true", argv);
		_exit(127);
	}
	result(reply, pid < 0 || waitpid(pid, &status, 0) < 0 ? -1 : status);
}

static void do_spawn(char reply[REPLY])
{
	char *argv[] = {"true", NULL};
	pid_t pid;
	int status;

	errno = posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ);
	result(reply, errno != 0 || waitpid(pid, &status, 0) < 0 ? -1 : status);
}

#endif
