import socket
import time


class Pool:
    def open(self):
        return socket.socket()  # SOCKET


def serve(pool):
    while True:
        pool.open().close()
        time.sleep(0.1)


serve(Pool())
