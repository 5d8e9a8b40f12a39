#!/usr/bin/env python3
"""The WebSocket server that tests talk to: `python3 ws_server.py DIRECTORY`.

The package `websockets` does the protocol; what it would never send is written by hand. Listens on
127.0.0.1 on free ports, makes its certificates in DIRECTORY, and prints one line when it is ready:

    READY ws_port=N wss_port=N wss_mtls_port=N ws_raw_port=N ws_silent_port=N ws_closed_port=N
          ws_proxy_port=N ws_ca=PATH ws_other_ca=PATH ws_client_cert=PATH ws_client_key=PATH
          ws_server_sha256=HEX

The path of a connection says what happens on it: see `serve` and `Raw`.
"""

import asyncio
import base64
import hashlib
import http
import os
import socket
import struct
import sys
import threading
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import serve as listen
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from http_server import Proxy, Server, certificates, fingerprint, tls


def answer(status, body=b"", **fields):
    status = http.HTTPStatus(status)
    fields = {"Connection": "close", "Content-Length": str(len(body)), **fields}
    return Response(status.value, status.phrase, Headers(fields), body)


def refuse(_, request):
    """Answers in plain HTTP where the path says so."""
    url = urlsplit(request.path)
    if url.path.startswith("/status/"):
        return answer(int(url.path.rsplit("/", 1)[1]), b"no")
    if url.path == "/moved":
        return answer(302, Location="/echo")
    if url.path == "/private" and request.headers.get("Authorization") != "Basic YWw6cEBzcw==":
        return answer(401)
    return None


def choose(_, offered):
    """The subprotocol that the server prefers; none where the client offers none that it knows."""
    return next((name for name in ("chat", "chat.v2") if name in offered), None)


async def serve(connection):
    url = urlsplit(connection.request.path)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    try:
        await ENDPOINTS.get(url.path, echo)(connection, query)
    except ConnectionClosed:
        pass


async def echo(connection, _):
    async for message in connection:
        await connection.send(message)


async def about(connection, _):
    """What the handshake was, as lines."""
    fields = connection.request.headers.raw_items()
    lines = [connection.request.path] + sorted(f"{name.lower()}: {value}" for name, value in fields)
    await connection.send("\n".join(lines))
    await connection.wait_closed()


async def count(connection, query):
    for n in range(int(query["n"])):
        await connection.send(str(n))


async def close(connection, query):
    await connection.close(int(query.get("code", "1000")), query.get("reason", ""))


async def said(connection, _):
    """Tells on the next connection, at /last, how this one was closed."""
    await connection.wait_closed()
    LAST.set_result((connection.close_code, connection.close_reason))


async def last(connection, _):
    code, reason = await LAST
    await connection.send(f"{code} {reason}")


async def fragments(connection, query):
    """One message in many frames, with a ping among them."""
    async def pieces():
        for n in range(int(query["n"])):
            if n == 2:
                await connection.ping(b"among")
            yield "ä%d;" % n
    await connection.send(pieces())
    await connection.wait_closed()


async def large(connection, query):
    size = int(query["size"])
    sending = asyncio.create_task(connection.send((bytes(range(256)) * (size // 256 + 1))[:size]))
    # The first turn of it writes as much as the connection takes.
    await asyncio.sleep(0)
    async with PILED:
        PILES.append(size)
        PILED.notify_all()
    await sending
    await connection.wait_closed()


async def piled(connection, query):
    """Tells when so many large messages have gone out as far as their connections took them."""
    async with PILED:
        await PILED.wait_for(lambda: PILES.count(int(query["size"])) >= int(query["count"]))
    await connection.send("piled")
    await connection.wait_closed()


async def pinged(connection, _):
    """Pings the client and tells that it answered."""
    answer = await connection.ping(b"are you there")
    await asyncio.wait_for(answer, 20)
    await connection.send("answered")
    await connection.wait_closed()


async def flood(connection, _):
    """Sends until the other side takes no more, and tells how much that was when it is asked."""
    sent = 0
    block = bytes(64 << 10)
    try:
        while True:
            await asyncio.wait_for(connection.send(block), 2)
            sent += 1
    except asyncio.TimeoutError:
        FLOODED.set_result(sent)
    await connection.wait_closed()


async def flooded(connection, _):
    await connection.send(str(await FLOODED))


ENDPOINTS = {
    "/echo": echo, "/about": about, "/count": count, "/close": close, "/said": said, "/last": last,
    "/fragments": fragments, "/large": large, "/piled": piled, "/pinged": pinged, "/flood": flood, "/flooded": flooded,
    "/private": echo,
}


def frame(first, payload, masked=False):
    if len(payload) < 126:
        head = bytes([first, len(payload) | (0x80 if masked else 0)])
    else:
        head = bytes([first, 126 | (0x80 if masked else 0)]) + struct.pack(">H", len(payload))
    return head + (b"\0\0\0\0" if masked else b"") + payload


RAW = {
    # Frames that break the protocol (RFC 6455 5).
    "/reserved": frame(0xC1, b"x"),
    "/opcode": frame(0x83, b"x"),
    "/masked": frame(0x81, b"x", masked=True),
    "/not-utf8": frame(0x81, b"\xff\xfe"),
    "/long-ping": frame(0x89, bytes(126)),
    "/continued": frame(0x80, b"x"),
    "/bad-close": frame(0x88, struct.pack(">H", 999)),
    "/half": frame(0x81, b"x" * 100)[:50],
    "/cut": b"",
    "/huge": bytes([0x82, 127]) + struct.pack(">Q", 1 << 40),
    # Nothing wrong, but nothing is answered after it.
    "/mute": frame(0x81, b"hello"),
    # Frames that carry nothing: as many as are taken, and more.
    "/pings": frame(0x89, b"x" * 125) * 20000,
    "/pongs": frame(0x8A, b"") * 5000,
    "/empty": frame(0x81, b"") * 5000,
    "/empty-fragments": frame(0x01, b"") + frame(0x00, b"") * 5000,
    "/some-pings": frame(0x89, b"") * 1500 + frame(0x81, b"hello"),
    "/pings-among": (frame(0x89, b"") + frame(0x81, b"hello")) * 5000,
}


HELLO = frame(0x81, b"hello")
# Answers whose fields of the connection are lists, or come on several lines (RFC 9110 5.3), and those that are none.
LISTS = {
    "/lists": "Upgrade: h2c, WebSocket\r\nConnection: keep-alive, Upgrade\r\n",
    "/lines": "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: keep-alive\r\nConnection: upgrade\r\n",
    "/folded": "Upgrade: websocket\r\nConnection: keep-alive,\r\n Upgrade\r\n",
    "/not-upgraded": "Upgrade: websocket\r\nConnection: keep-alive\r\n",
    "/extended": "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
}
INTERIM = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
RAW.update({path: HELLO for path in [*LISTS, "/interim"]})


def raw_client(client):
    """A server that shakes hands and then sends what no library would."""
    with client:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = client.recv(4096)
            if not piece:
                return
            request += piece
        path = request.split(b" ")[1].decode()
        lines = request.decode("latin-1").split("\r\n")[1:]
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if ": " in line)}
        key = fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        if path == "/bad-accept":
            accept = "AAAAAAAAAAAAAAAAAAAAAAAAAAA="
        if path == "/not-http":
            client.sendall(b"220 ready for mail\r\n\r\n")
            return
        lists = LISTS.get(path, "Upgrade: websocket\r\nConnection: Upgrade\r\n")
        answer = f"HTTP/1.1 101 Switching Protocols\r\n{lists}Sec-WebSocket-Accept: {accept}\r\n"
        if path == "/interim":
            answer = INTERIM + answer
        if path == "/unasked-protocol":
            answer += "Sec-WebSocket-Protocol: unasked\r\n"
        if path == "/many-headers":
            answer += "".join(f"x-{n}: {'y' * 100}\r\n" for n in range(5000))
        client.sendall((answer + "\r\n").encode() + RAW.get(path, b""))
        if path in ("/half", "/cut"):
            return
        # Reads the client's close code, for /last on the other port.
        data = b""
        while piece := client.recv(4096):
            if path == "/mute":
                continue
            data += piece
            if len(data) >= 8 and data[0] == 0x88:
                mask, body = data[2:6], data[6:8]
                code = struct.unpack(">H", bytes(body[n] ^ mask[n] for n in range(2)))[0]
                LOOP.call_soon_threadsafe(LAST.set_result, (code, ""))
                return


def listening(handle):
    server = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            client, _ = server.accept()
            threading.Thread(target=handle, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()[1]


def silent(client):
    """Takes what comes and never answers."""
    with client:
        while client.recv(4096):
            pass


async def main():
    global LOOP, LAST, FLOODED, PILED, PILES
    LOOP = asyncio.get_running_loop()
    LAST, FLOODED = LOOP.create_future(), LOOP.create_future()
    PILED, PILES = asyncio.Condition(), []
    directory = os.path.abspath(sys.argv[1])
    os.makedirs(directory, exist_ok=True)
    path = certificates(directory)
    values = {}
    servers = []
    for name, context in {
        "ws_port": None,
        "wss_port": tls(path, "server"),
        "wss_mtls_port": tls(path, "server", "ca.pem"),
    }.items():
        server = await listen(
            serve, "127.0.0.1", 0, ssl=context, subprotocols=["chat", "chat.v2"], select_subprotocol=choose,
            process_request=refuse, max_size=64 << 20, max_queue=None, ping_interval=None, close_timeout=5,
            compression=None,
        )
        servers.append(server)
        values[name] = server.sockets[0].getsockname()[1]
    values["ws_raw_port"] = listening(raw_client)
    values["ws_silent_port"] = listening(silent)
    # A port on which nothing listens: bound, so that nobody else takes it.
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    values["ws_closed_port"] = closed.getsockname()[1]
    proxy = Server(("127.0.0.1", 0), Proxy)
    proxy.context = None
    values["ws_proxy_port"] = proxy.server_address[1]
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    values.update(
        ws_ca=path("ca.pem"),
        ws_other_ca=path("other-ca.pem"),
        ws_client_cert=path("client.pem"),
        ws_client_key=path("client.key"),
        ws_server_sha256=fingerprint(path("server.pem")),
    )
    print("READY", " ".join(f"{name}={value}" for name, value in values.items()), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
