// A small crawler that leaks sockets in three ways, for sockleak to find, and
// does the same things right beside them. All its servers are threads of its
// own, on 127.0.0.1.
//
//   crawler SECONDS     ends by itself, or when its parent does
#include <arpa/inet.h>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <chrono>
#include <netinet/in.h>
#include <stdexcept>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

using namespace std::chrono_literals;

// Keeps the three leaking functions apart in the binary, as those of a real
// crawler, being larger, would be by themselves.
#define OWN_FRAME [[gnu::noinline, gnu::noclone]]

namespace net {

int check(int result, const char *what)
{
	if (result < 0)
		throw std::runtime_error(std::string(what) + ": " + strerror(errno));
	return result;
}

struct Endpoint {
	sockaddr_in address{};

	explicit Endpoint(uint16_t port = 0)
	{
		address.sin_family = AF_INET;
		address.sin_port = htons(port);
		address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	sockaddr *raw() { return reinterpret_cast<sockaddr *>(&address); }
};

// A socket bound to a free port, and its address.
int bound(Endpoint &at)
{
	int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	socklen_t size = sizeof at.address;
	check(bind(fd, at.raw(), size), "bind");
	check(getsockname(fd, at.raw(), &size), "getsockname");
	return fd;
}

// Hands each connection to a thread.
void serve(int listener, void (*session)(int))
{
	for (;;)
		std::thread(session, check(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), "accept")).detach();
}

Endpoint start_server(void (*session)(int))
{
	Endpoint at;
	int fd = bound(at);
	check(listen(fd, 128), "listen");
	std::thread(serve, fd, session).detach();
	return at;
}

} // namespace net

// Answers every request until the client closes.
void page_session(int fd)
{
	char request[64];
	for (ssize_t n; (n = read(fd, request, sizeof request)) > 0;)
		if (write(fd, request, n) != n)
			break;
	close(fd);
}

// Sends its news and closes: the client is to read to the end and close, too.
void feed_session(int fd)
{
	const std::string news = "<rss>three things happened today</rss>\n";
	if (write(fd, news.data(), news.size()) < 0)
		perror("write");
	close(fd);
}

struct Crawler {
	net::Endpoint pages = net::start_server(page_session);
	net::Endpoint feed = net::start_server(feed_session);
	net::Endpoint down; // nobody listens there
	int down_port = net::bound(down);
	int kept_alive = connect_to(pages);

	static int connect_to(net::Endpoint to)
	{
		int fd = net::check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		net::check(connect(fd, to.raw(), sizeof to.address), "connect");
		return fd;
	}

	static void request(int fd)
	{
		char page[4];
		net::check(write(fd, "GET", 4), "write");
		net::check(recv(fd, page, sizeof page, MSG_WAITALL), "recv");
	}

	// Right: opens, asks, closes; and asks again on a connection it keeps.
	void fetch_page()
	{
		int fd = connect_to(pages);
		request(fd);
		close(fd);
		request(kept_alive);
	}

	// Leak 1, never used: decides not to connect, and forgets the socket.
	OWN_FRAME bool prefetch(const std::string &url)
	{
		int fd = net::check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		if (url.find("/private/") != std::string::npos)
			return false; // robots.txt says no
		net::check(connect(fd, pages.raw(), sizeof pages.address), "connect");
		close(fd);
		return true;
	}

	// Leak 2, connect failed: the way out after an error has no close.
	OWN_FRAME bool fetch_from_mirror()
	{
		int fd = net::check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		if (connect(fd, down.raw(), sizeof down.address) < 0)
			return false;
		request(fd);
		close(fd);
		return true;
	}

	// Leak 3, peer closed: takes the first bytes and is content.
	OWN_FRAME bool poll_feed()
	{
		char head[5];
		int fd = net::check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		net::check(connect(fd, feed.raw(), sizeof feed.address), "connect");
		return recv(fd, head, sizeof head, MSG_WAITALL) == sizeof head;
	}
};

int main(int argc, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	Crawler crawler;
	auto end = std::chrono::steady_clock::now() + std::chrono::seconds(argc > 1 ? atoi(argv[1]) : 30);
	while (std::chrono::steady_clock::now() < end) {
		crawler.fetch_page();
		crawler.prefetch("http://127.0.0.1/private/index.html");
		crawler.fetch_from_mirror();
		crawler.poll_feed();
		std::this_thread::sleep_for(700ms);
	}
	_exit(0); // the servers never end
}
