"""Healthy: a urllib3 pool of eight connections, used by eight threads. With
"busy" they ask all the time; with "idle" they ask for two seconds, and the pool
is idle for ever after. Beside it an asyncio loop in a thread of its own, with
its self-pipe and one idle connection.

    urllib3_pool.py idle|busy HTTP LINES
"""
import asyncio
import os
import sys
import threading
import time

import urllib3


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def ask(pool, url, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pool.request("GET", url)
        time.sleep(0.05)


async def subscribe(address):
    reader, _ = await asyncio.open_connection(*address.split(":"))
    await reader.readline()


def main(mode, http, lines):
    threading.Thread(target=end_with_input, daemon=True).start()
    threading.Thread(target=asyncio.run, args=(subscribe(lines),), daemon=True).start()
    pool = urllib3.PoolManager(maxsize=8, block=True)
    seconds = 2 if mode == "idle" else 3600
    print("ready", flush=True)
    for _ in range(8):
        threading.Thread(target=ask, args=(pool, f"http://{http}/small", seconds), daemon=True).start()
    threading.Event().wait()


main(*sys.argv[1:])
