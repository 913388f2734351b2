# Says that it is ready, and when told to leak, on standard input, leaks COUNT sockets as
# fast as it can, each on a stack of its own. Ends with standard input. All those stacks read
# the same: they differ in which of two calls in one line was made, by the bits of the
# socket's number.
import resource
import socket
import sys

DEPTH = 200
count = int(sys.argv[1])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
kept = []


def leak_here(path, depth):
    if depth == 0:
        kept.append(socket.socket())
        return
    leak_here(path >> 1, depth - 1) if path & 1 else leak_here(path >> 1, depth - 1)


print("ready", flush=True)
sys.stdin.readline()
for i in range(count):
    leak_here(i, DEPTH)
print("ok", flush=True)
sys.stdin.readline()
