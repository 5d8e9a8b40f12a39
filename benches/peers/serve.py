import asyncio
import socket

from aiohttp import web


async def hello(request):
    return web.Response(text="Hello, world!")


async def echo(request):
    return web.json_response(await request.json())


async def main():
    app = web.Application()
    app.add_routes([web.get("/", hello), web.post("/echo", echo)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    await web.SockSite(runner, listener).start()
    print("READY", listener.getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
