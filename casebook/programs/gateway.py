# Story 4: a gateway that devices keep a connection to. A device says who it is,
# then sends a heartbeat every second; the gateway answers, and pushes the time.
# When a device comes back on a new connection, or is never heard of again, the
# gateway keeps the old connection: it only forgets whose it was. The healthy
# twin closes what a device had when it comes back, and what was silent for 5 s.
#
#   gateway.py leak|ok ADDRESS PORT
import functools
import selectors
import socket
import sys
import time

SILENCE = 5.0


class Session:
    def __init__(self, conn):
        self.conn = conn
        self.device = None
        self.heard = time.monotonic()


class Gateway:
    def __init__(self, healthy, address, port):
        self.healthy = healthy
        self.loop = selectors.DefaultSelector()
        self.sessions = set()
        self.devices = {}
        self.leaked = 0
        listener = socket.create_server((address, port), backlog=64)
        self.loop.register(listener, selectors.EVENT_READ, functools.partial(self.accept, listener))

    def accept(self, listener):
        conn, _ = listener.accept()  # LEAK
        session = Session(conn)
        self.sessions.add(session)
        self.loop.register(conn, selectors.EVENT_READ, functools.partial(self.read, session))

    def read(self, session):
        try:
            data = session.conn.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.close(session)
            return
        session.heard = time.monotonic()
        for line in data.decode().splitlines():
            if line.startswith("hello "):
                self.login(session, line.removeprefix("hello "))
        self.send(session, b"ok\n")

    def login(self, session, device):
        session.device = device
        old = self.devices.get(device)
        self.devices[device] = session  # the session before is still in the loop
        if old is None:
            return
        if self.healthy:
            self.close(old)
        else:
            self.leaked += 1
            print("peer", old.conn.getpeername()[0])
            print("leaked", self.leaked, flush=True)

    def push(self):
        for session in list(self.devices.values()):
            if self.healthy and time.monotonic() - session.heard > SILENCE:
                self.close(session)
            else:
                self.send(session, b"time %d\n" % time.time())

    def send(self, session, data):
        try:
            session.conn.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass  # the device is slow: it gets the next one
        except OSError:
            self.close(session)

    def close(self, session):
        if session not in self.sessions:
            return
        self.sessions.remove(session)
        if self.devices.get(session.device) is session:
            del self.devices[session.device]
        self.loop.unregister(session.conn)
        session.conn.close()

    def run(self):
        self.loop.register(sys.stdin, selectors.EVENT_READ, None)
        print("ready", flush=True)
        due = time.monotonic()
        while True:
            for key, _ in self.loop.select(max(0, due - time.monotonic())):
                if key.data is None:  # the end of the input
                    return
                key.data()
            if time.monotonic() >= due:
                due += 2.0
                self.push()


Gateway(sys.argv[1] == "ok", sys.argv[2], int(sys.argv[3])).run()
