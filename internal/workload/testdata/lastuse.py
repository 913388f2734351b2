# As lastuse.c: all connections are accepted in one place, and those that end in one
# of two functions are forgotten.
#
#   serve N    N connections of each kind, one after the other; answers "ok 0" when
#              all have ended
import signal
import socket
import sys
import threading

signal.alarm(900)
ended = threading.Semaphore(0)
kept = []


def close_at_end(conn):
    while conn.recv(64):
        pass
    conn.close()


def forget_at_end(conn):
    while conn.recv(64):  # LEAK
        pass
    kept.append(conn)


def server(listener):
    while True:
        conn, _ = listener.accept()
        if conn.recv(1) == b"f":
            forget_at_end(conn)
        else:
            close_at_end(conn)
        ended.release()


def talk(port, kind):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(kind + b"!")
    ended.acquire()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=server, args=(listener,), daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    words = line.split()
    if words[:1] != ["serve"]:
        break
    for _ in range(int(words[1])):
        talk(listener.getsockname()[1], b"c")
        talk(listener.getsockname()[1], b"f")
    print("ok 0", flush=True)
