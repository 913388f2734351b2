# Leaks COUNT sockets, PAUSE ms apart, and ends without closing them.
import os
import socket
import sys
import time

kept = []


def leak_here():
    kept.append(socket.socket())  # LEAK


for _ in range(int(sys.argv[1])):
    leak_here()
    time.sleep(int(sys.argv[2]) / 1000)
os._exit(0)
