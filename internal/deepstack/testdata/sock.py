# The argument is how many frames to be deeper.
import socket
import sys
import time


class Pool:
    def open(self):
        return socket.socket()  # SOCKET


def serve(pool, deeper):
    if deeper > 0:
        serve(pool, deeper - 1)
    while True:
        pool.open().close()
        time.sleep(0.1)


serve(Pool(), int(sys.argv[1]) if len(sys.argv) > 1 else 0)
