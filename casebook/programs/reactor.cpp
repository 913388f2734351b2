// Story 1: a crawler with a little reactor of its own. A Connector is destroyed
// when its time is up or connect has failed, in any case before it is
// established. It takes its descriptor out of epoll and forgets to close it;
// over TLS it trusts SSL_free, which closes nothing, because SSL_set_fd doesn't
// hand the descriptor over (BIO_NOCLOSE). The healthy twin closes it.
//
//   reactor leak|ok tcp|tls ADDRESS PORT
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

static bool leaking;
static int leaked;

class Reactor {
public:
    void watch(int fd, std::function<void(uint32_t)> handler) {
        epoll_event e{.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.fd = fd}};
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &e) == 0) handlers_[fd] = std::move(handler);
    }
    void forget(int fd) {
        epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
        handlers_.erase(fd);
    }
    void turn(std::chrono::milliseconds limit) {
        epoll_event events[64];
        int n = epoll_wait(epoll_, events, 64, static_cast<int>(limit.count()));
        for (int i = 0; i < n; i++)
            if (auto h = handlers_.find(events[i].data.fd); h != handlers_.end()) h->second(events[i].events);
    }

private:
    int epoll_ = epoll_create1(EPOLL_CLOEXEC);
    std::unordered_map<int, std::function<void(uint32_t)>> handlers_;
};

class Connector {
public:
    Connector(Reactor& reactor, SSL_CTX* tls, Clock::duration limit)
        : reactor_(reactor), ssl_(tls ? SSL_new(tls) : nullptr), deadline_(Clock::now() + limit) {}
    ~Connector() {
        reactor_.forget(fd_);
        SSL_free(ssl_);
        if (!leaking) close(fd_);
        else std::printf("leaked %d\n", ++leaked);
    }
    void start(const sockaddr_in& to) {
        fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);  // LEAK
        if (ssl_) SSL_set_fd(ssl_, fd_);
        if (connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS) failed_ = true;
        reactor_.watch(fd_, [this](uint32_t events) { ready(events); });
    }
    bool over() const { return failed_ || Clock::now() >= deadline_; }

private:
    void ready(uint32_t events) {
        if (events & (EPOLLERR | EPOLLHUP)) failed_ = true;
        else if (ssl_ && (events & EPOLLOUT)) SSL_connect(ssl_);  // the rest comes with the next event
    }
    Reactor& reactor_;
    SSL* ssl_;
    Clock::time_point deadline_;
    int fd_ = -1;
    bool failed_ = false;
};

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    leaking = !std::strcmp(argv[1], "leak");
    SSL_CTX* tls = std::strcmp(argv[2], "tls") ? nullptr : SSL_CTX_new(TLS_client_method());
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[4])));
    if (inet_pton(AF_INET, argv[3], &to.sin_addr) != 1) return 2;

    Reactor reactor;
    std::list<std::unique_ptr<Connector>> connectors;
    auto next = Clock::now();
    std::printf("peer %s:%s\nready\n", argv[3], argv[4]);
    for (pollfd input{.fd = 0, .events = POLLIN, .revents = 0}; poll(&input, 1, 0) == 0;) {
        if (Clock::now() >= next) {
            next += 1s;
            connectors.push_back(std::make_unique<Connector>(reactor, tls, 500ms));
            connectors.back()->start(to);
        }
        reactor.turn(50ms);
        connectors.remove_if([](const auto& c) { return c->over(); });
    }
}
