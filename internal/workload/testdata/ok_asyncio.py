"""A Python asyncio server with ten idle clients of its own, and one that asks
it something ten times a second."""
import asyncio
import sys


async def serve(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def busy(reader, writer):
    while True:
        writer.write(b"is it you?\n")
        await writer.drain()
        await reader.readline()
        await asyncio.sleep(0.1)


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    idle = [await asyncio.open_connection(*address) for _ in range(10)]
    asking = asyncio.create_task(busy(*await asyncio.open_connection(*address)))
    await asyncio.sleep(0.2)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    asking.cancel()
    for _, writer in idle:
        writer.close()


asyncio.run(main())
