/* A randomized run over every way to make, copy and free a descriptor:
 *
 *   fdchurn SEED OPS PROCESSES THREADS
 *
 * PROCESSES processes of THREADS threads do OPS operations in all, beside what
 * their children do. Then the program prints "done" and everything stands
 * still, with whatever is open, until the line "quit" or the end of input.
 * With one thread, each process draws the same operations for the same seed.
 *
 * Operations take descriptors at random and many fail: a failed operation
 * must change nothing, and in threads they race as those of real programs do.
 * RLIMIT_NOFILE bounds the number of descriptors. The program's own pipes lie
 * above that limit, where no operation looks. */
#include "workload.h"

#include <linux/close_range.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

enum {
	FIRST = 3,
	LIMIT = 200,
	EXEC_SPARE = 100, /* descriptors for the loader of a new image */
	REPORT_FD = 1000, /* write: a message when a process stands still */
	HOLD_FD = 1001,	  /* read: ends when the run is over */
	CHILD_OPS = 40,
	MAX_STAYERS = 3,
	MAX_THREADS = 16,
};

struct thread {
	uint64_t random;
	pthread_t id;
	pid_t tid;
	bool stays;
};

static int thread_count;
static long ops_left;	 /* of this process; shared by its threads */
static uint32_t stayers; /* children that stand still at the end, too */
static pthread_barrier_t finished;
/* Held by threads that wait for a child, so that none is left behind when
 * another thread's exec ends them. */
static pthread_rwlock_t exec_lock = PTHREAD_RWLOCK_INITIALIZER;
/* Held to write while a thread gets a table of its own, and to read for what changes
 * one: the kernel copies the table early in the call, and only its end is traced. What
 * other threads did in between is taken to be in the copy, until a snapshot tells. */
static pthread_rwlock_t table_lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;

static uint32_t draw(struct thread *t, uint32_t below)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (uint32_t)(t->random >> 32) % below;
}

/* Neighbouring numbers must not give neighbouring sequences, and zero gives
 * none at all (splitmix64). */
static uint64_t sequence(uint64_t seed)
{
	seed += 0x9e3779b97f4a7c15;
	seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;
	seed = (seed ^ seed >> 27) * 0x94d049bb133111eb;
	return (seed ^ seed >> 31) | 1;
}

static int some_fd(struct thread *t) { return FIRST + (int)draw(t, LIMIT - FIRST); }

static int flag(struct thread *t, int value) { return draw(t, 3) == 0 ? value : 0; }

#include "fdchurn_ops.h"

static void limit_descriptors(rlim_t n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("getrlimit");
	limit.rlim_cur = n;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("setrlimit");
}

/* What a process says when it stands still. */
struct message {
	uint32_t is_child;
	uint32_t stayers; /* its children that say so, too: maybe before it does */
};

__attribute__((noreturn)) static void stand_still(bool is_child)
{
	struct message m = {is_child, stayers};
	char c;

	if (write(REPORT_FD, &m, sizeof m) != sizeof m || read(HOLD_FD, &c, 1) < 0)
		_exit(1);
	_exit(0);
}

/* Before Linux 5.11 exec gave a process a table of its own first, and ended its other
 * threads later (unshare_files in fs/exec.c). */
static bool exec_copies_early(void)
{
	struct utsname name;
	int major, minor;

	return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
	       (major < 5 || (major == 5 && minor < 11));
}

/* Goes on in a new image with what is left to do, in so many threads; with
 * none, a child stands still there. No other thread of this process survives. */
static void exec_self(struct thread *t, int threads)
{
	char random[24], ops[24], count[12], stay[12];
	char *argv[] = {"fdchurn", "resume", random, ops, count, stay, NULL};

	pthread_rwlock_wrlock(&exec_lock);
	if (exec_copies_early())
		pthread_rwlock_wrlock(&table_lock);
	limit_descriptors(LIMIT + EXEC_SPARE);
	snprintf(random, sizeof random, "%llu", (unsigned long long)t->random);
	snprintf(ops, sizeof ops, "%ld", __atomic_load_n(&ops_left, __ATOMIC_RELAXED));
	snprintf(count, sizeof count, "%d", threads);
	snprintf(stay, sizeof stay, "%u", stayers);
	exec_again(argv);
	die("exec self");
}

/* A child operates on its copy of the table for a while. Some stay, in this
 * image or another; the others end in one way or another. */
static void child_life(struct thread t, bool stays)
{
	char *argv[] = {"true", NULL};

	alarm(LIFETIME_S);
	stayers = 0;
	ops_left = 0;
	/* No other thread is here to let go of them. */
	exec_lock = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
	table_lock = (pthread_rwlock_t)PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
	for (int i = 0; i < CHILD_OPS; i++)
		operate(&t);
	if (stays && draw(&t, 2))
		exec_self(&t, 0);
	if (stays)
		stand_still(true);
	if (draw(&t, 2))
		execv("/bin/true", argv);
	_exit(0);
}

static void fork_child(struct thread *t)
{
	bool stays = draw(t, 8) == 0 && __atomic_load_n(&stayers, __ATOMIC_RELAXED) < MAX_STAYERS;
	struct thread child = {.random = sequence(t->random)};
	pid_t pid;

	pthread_rwlock_rdlock(&exec_lock);
	if (stays)
		__atomic_add_fetch(&stayers, 1, __ATOMIC_RELAXED);
	pid = fork();
	if (pid == 0)
		child_life(child, stays);
	if (pid < 0)
		die("fork");
	if (!stays && waitpid(pid, NULL, 0) < 0)
		die("waitpid");
	pthread_rwlock_unlock(&exec_lock);
}

static void vfork_true(void)
{
	char *argv[] = {"true", NULL};
	pid_t pid;

	pthread_rwlock_rdlock(&exec_lock);
	pid = vfork();
	if (pid == 0) {
		execv("/bin/true", argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) < 0)
		die("vfork");
	pthread_rwlock_unlock(&exec_lock);
}

/* From here on the thread has a table of its own. */
static void leave_table(struct thread *t)
{
	unsigned first = (unsigned)some_fd(t);

	pthread_rwlock_wrlock(&table_lock);
	if (draw(t, 2))
		unshare(CLONE_FILES);
	else
		syscall(SYS_close_range, first, first + draw(t, 8), CLOSE_RANGE_UNSHARE);
	pthread_rwlock_unlock(&table_lock);
}

static void operate_in_shared(struct thread *t)
{
	pthread_rwlock_rdlock(&table_lock);
	operate(t);
	pthread_rwlock_unlock(&table_lock);
}

static void run_thread(struct thread *t)
{
	while (__atomic_fetch_sub(&ops_left, 1, __ATOMIC_RELAXED) > 0) {
		uint32_t n = draw(t, 2000);

		if (n < 8)
			fork_child(t);
		else if (n < 11)
			vfork_true();
		else if (n == 11)
			exec_self(t, thread_count);
		else if (n == 12)
			leave_table(t);
		else
			operate_in_shared(t);
	}
	pthread_barrier_wait(&finished);
}

/* Some threads stay: one that left the shared table still has its own. */
static void *other_thread(void *arg)
{
	struct thread *t = arg;
	char c;

	t->tid = (pid_t)syscall(SYS_gettid);
	t->stays = draw(t, 2);
	run_thread(t);
	if (t->stays && read(HOLD_FD, &c, 1) < 0)
		die("wait for the end of the run");
	return NULL;
}

/* pthread_join returns before the kernel has released the thread's table. */
static void await_end(struct thread *t)
{
	char path[64];

	pthread_join(t->id, NULL);
	snprintf(path, sizeof path, "/proc/self/task/%d", (int)t->tid);
	while (access(path, F_OK) == 0)
		sleep_ms(1);
}

/* Right after an exec that ended other threads, clone3 was seen to fail with EAGAIN
 * where no limit is near: in one of 30 runs, on Linux 6.18. */
static void create_thread(struct thread *t)
{
	for (int tries = 0; tries < 1000; tries++) {
		errno = pthread_create(&t->id, NULL, other_thread, t);
		if (errno != EAGAIN)
			break;
		sleep_ms(1);
	}
	if (errno != 0)
		die("pthread_create");
}

__attribute__((noreturn)) static void run_process(uint64_t random)
{
	struct thread threads[MAX_THREADS] = {{.random = random}};

	limit_descriptors(LIMIT);
	pthread_barrier_init(&finished, NULL, (unsigned)thread_count);
	for (int i = 1; i < thread_count; i++) {
		threads[i].random = sequence(random + (uint64_t)i);
		create_thread(&threads[i]);
	}
	run_thread(&threads[0]);
	for (int i = 1; i < thread_count; i++)
		if (!threads[i].stays)
			await_end(&threads[i]);
	stand_still(false);
}

/* Processes of the run end only when it is over: the others would wait for this one. */
static void child_died(int signal)
{
	static const char text[] = "a process of the run died\n";

	(void)signal;
	if (write(STDERR_FILENO, text, sizeof text - 1) > 0)
		_exit(1);
	_exit(2);
}

/* Waits until each process, and each that stays of their children, says that
 * it stands still. */
static void await_all(int report, int processes)
{
	for (int children = 0; processes > 0 || children > 0;) {
		struct message m;

		if (read(report, &m, sizeof m) != sizeof m)
			die("wait for the processes of the run");
		if (m.is_child)
			children--;
		else
			processes--;
		children += (int)m.stayers;
	}
}

int main(int argc, char **argv)
{
	int report[2], over[2], processes;

	if (argc == 6 && strcmp(argv[1], "resume") == 0) {
		ops_left = atol(argv[3]);
		thread_count = atoi(argv[4]);
		stayers = (uint32_t)atoi(argv[5]);
		if (thread_count == 0)
			stand_still(true);
		run_process(strtoull(argv[2], NULL, 10));
	}
	if (argc != 5 || (thread_count = atoi(argv[4])) < 1 || thread_count > MAX_THREADS ||
	    (processes = atoi(argv[3])) < 1) {
		fprintf(stderr, "usage: fdchurn SEED OPS PROCESSES THREADS\n");
		return 2;
	}
	begin();
	signal(SIGCHLD, child_died);
	if (pipe(report) < 0 || pipe(over) < 0)
		die("pipe");
	ops_left = atol(argv[2]) / processes;
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid > 0)
			continue;
		alarm(LIFETIME_S);
		signal(SIGCHLD, SIG_DFL);
		if (dup2(report[1], REPORT_FD) < 0 || dup2(over[0], HOLD_FD) < 0)
			die("move a pipe out of the way");
		for (int j = 0; j < 2; j++)
			close(report[j]), close(over[j]);
		run_process(sequence(strtoull(argv[1], NULL, 10) * 1000 + (uint64_t)i));
	}
	close(report[1]);
	await_all(report[0], processes);
	return hold("done");
}
