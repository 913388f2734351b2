# Connects on uvloop from functions of their own and writes of each connection the
# inode number of its socket and the function that asked for it. It does so for each
# line on standard input.
#
#   loop.py [PORT]  of 127.0.0.1; without it connects to itself
import asyncio
import os
import sys

import uvloop

kept = []


async def stream1(port): kept.append(await asyncio.open_connection("127.0.0.1", port))
async def stream2(port): kept.append(await asyncio.open_connection("127.0.0.1", port))


async def protocol1(port): await asyncio.sleep(0); kept.append(await connect(port))
async def protocol2(port): await asyncio.sleep(0); kept.append(await connect(port))


def connect(port): return asyncio.get_running_loop().create_connection(Kept, "127.0.0.1", port)


class Kept(asyncio.Protocol):
    def eof_received(self):
        return True  # the connection stays open


def sockets():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            to = os.readlink("/proc/self/fd/" + fd)
        except OSError:
            continue  # the directory's own
        if to.startswith("socket:["):
            found.add(to[8:-1])
    return found


async def main():
    # Its own connections are made by the kernel's backlog: nobody accepts them.
    import socket
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(sys.argv[1]) if len(sys.argv) > 1 else listener.getsockname()[1]
    while await asyncio.to_thread(sys.stdin.readline):
        for ask in [stream1, stream2, protocol1, protocol2] * 4:
            before = sockets()
            await ask(port)
            await asyncio.sleep(0.04)
            for inode in sockets() - before:
                print(inode, ask.__name__)
        print("done", flush=True)


uvloop.install()
asyncio.run(main())
