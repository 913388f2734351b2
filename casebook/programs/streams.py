"""Healthy: connections whose bytes stand still for a while, or flow one way.

A slow reader takes a little of an endless answer all the time, so that the
receive buffer is always full. A paused reader takes nothing for 20 s, then all
there is. Half-closing clients say that their question is complete (shutdown)
and read a long answer that comes a line a second.

    streams.py LINES
"""
import os
import socket
import sys
import threading
import time


def connect(address, question):
    host, port = address.split(":")
    sock = socket.create_connection((host, int(port)))
    sock.sendall(question)
    return sock


def read_slowly(address):
    sock = connect(address, b"flood\n")
    while sock.recv(4096):
        time.sleep(0.5)


def read_after_pauses(address):
    sock = connect(address, b"flood\n")
    while True:
        time.sleep(20)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            sock.recv(65536)


def half_close(address):
    while True:
        with connect(address, b"drip\n") as sock:
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass


def main(address):
    print("ready", flush=True)
    for run in (read_slowly, read_slowly, read_after_pauses, read_after_pauses, half_close, half_close):
        threading.Thread(target=run, args=(address,), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main(sys.argv[1])
