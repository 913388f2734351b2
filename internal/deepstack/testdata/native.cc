// A socket made in a method that a template calls, on a thread.
#include <chrono>
#include <functional>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace net {
struct Pool {
	__attribute__((noinline)) int open(int family)
	{
		int fd = socket(family, SOCK_STREAM, 0); // SOCKET
		asm volatile("" ::: "memory");
		return fd;
	}
};
} // namespace net

template <class F> __attribute__((noinline)) void repeat(F f)
{
	for (;;) {
		f();
		std::this_thread::sleep_for(std::chrono::milliseconds(100));
	}
}

int main()
{
	std::thread([] {
		net::Pool pool;
		std::function<void()> once = [&] { close(pool.open(AF_INET)); };
		repeat(once);
	}).join();
}
