"""An asyncio client asks a line of a server every second.

Forgets: to close the writer. With "keep" the server waits for the next line;
with "gone" it closes its side, which by itself closes nothing on this one.
The healthy twin closes the writer in a finally clause.

    asyncio_writer.py leak|ok keep|gone ADDRESS
"""
import asyncio
import os
import sys
import threading


def end_with_input():
    sys.stdin.read()
    os._exit(0)


async def ask(host, port, question, forgets):
    reader, writer = await asyncio.open_connection(host, port)  # LEAK
    try:
        writer.write(question)
        await writer.drain()
        await reader.readline()
    finally:
        if not forgets:
            writer.close()
            await writer.wait_closed()
    return writer


async def main(forgets, question, address):
    threading.Thread(target=end_with_input, daemon=True).start()
    host, port = address.split(":")
    print(f"peer {address}\nready", flush=True)
    kept = []
    while True:
        writer = await ask(host, int(port), question, forgets)
        if forgets:
            kept.append(writer)
            print("leaked", len(kept), flush=True)
        await asyncio.sleep(1)


asyncio.run(main(sys.argv[1] == "leak", b"bye\n" if sys.argv[2] == "gone" else b"ping\n", sys.argv[3]))
