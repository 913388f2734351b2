/* A client that makes, connects and uses its sockets through io_uring(7) alone:
 * none of the system calls that make or connect sockets is ever called. Raw
 * system calls, because liburing may not be there.
 *
 * Forgets: IORING_OP_CLOSE when the server has said goodbye.
 * The healthy twin submits it.
 * Prints "unsupported REASON" and ends where io_uring is refused.
 *
 *   uring leak|ok ADDRESS */
#include "further.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
} ring;

static void unsupported(const char *what)
{
	printf("unsupported %s: %s\n", what, strerror(errno));
	exit(0);
}

static void set_up(void)
{
	struct io_uring_params p = {0};
	size_t size;
	char *rings;

	ring.fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (ring.fd < 0)
		unsupported("io_uring_setup");
	size = p.cq_off.cqes + p.cq_entries * sizeof *ring.cqes;
	if (size < p.sq_off.array + p.sq_entries * sizeof(unsigned))
		size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
	rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	ring.sqes = mmap(NULL, p.sq_entries * sizeof *ring.sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			 ring.fd, IORING_OFF_SQES);
	if (!(p.features & IORING_FEAT_SINGLE_MMAP) || rings == MAP_FAILED || ring.sqes == MAP_FAILED)
		unsupported("mmap of the rings");
	ring.sq_tail = (unsigned *)(rings + p.sq_off.tail);
	ring.sq_mask = (unsigned *)(rings + p.sq_off.ring_mask);
	ring.sq_array = (unsigned *)(rings + p.sq_off.array);
	ring.cq_head = (unsigned *)(rings + p.cq_off.head);
	ring.cq_mask = (unsigned *)(rings + p.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
}

/* One operation at a time: submits it, waits, and returns its result. */
static int carry_out(struct io_uring_sqe op)
{
	unsigned tail = *ring.sq_tail, index = tail & *ring.sq_mask;
	int result;

	ring.sqes[index] = op;
	ring.sq_array[index] = index;
	__atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		die("io_uring_enter");
	result = ring.cqes[*ring.cq_head & *ring.cq_mask].res;
	__atomic_store_n(ring.cq_head, *ring.cq_head + 1, __ATOMIC_RELEASE);
	errno = -result;
	return result;
}

__attribute__((noinline)) static bool ask_by_ring(const struct sockaddr_in *server, bool forgets)
{
	char line[64] = "bye\n";
	int fd = carry_out((struct io_uring_sqe){.opcode = IORING_OP_SOCKET, .fd = AF_INET, .off = SOCK_STREAM}); /* LEAK */

	if (fd == -EINVAL)
		unsupported("IORING_OP_SOCKET");
	if (fd < 0 ||
	    carry_out((struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (uintptr_t)server,
					    .off = sizeof *server}) < 0 ||
	    carry_out((struct io_uring_sqe){.opcode = IORING_OP_SEND, .fd = fd, .addr = (uintptr_t)line, .len = 4}) < 0 ||
	    carry_out((struct io_uring_sqe){.opcode = IORING_OP_RECV, .fd = fd, .addr = (uintptr_t)line, .len = 64}) < 0)
		die("ask");
	return forgets || carry_out((struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = fd}) < 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in server;
	int leaked = 0;

	if (argc != 3)
		return 2;
	begin();
	set_up();
	server = address(argv[2]);
	ask_by_ring(&server, false); /* or it is unsupported */
	printf("peer %s\nready\n", argv[2]);
	for (;; sleep(1))
		if (ask_by_ring(&server, strcmp(argv[1], "leak") == 0))
			printf("leaked %d\n", ++leaked);
}
