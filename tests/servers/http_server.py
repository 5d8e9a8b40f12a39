#!/usr/bin/env python3
"""The HTTP server that tests talk to: `python3 http_server.py DIRECTORY`.

Standard library only. Listens on 127.0.0.1 on free ports, makes its certificates in DIRECTORY with
openssl, and prints one line when it is ready:

    READY http_port=N https_port=N mtls_port=N wrong_name_port=N expired_port=N self_signed_port=N proxy_port=N
          refused_port=N refused_always_port=N gone_port=N begun_port=N closed_port=N ca=PATH other_ca=PATH
          self_signed=PATH self_signed_sha256=HEX server_sha256=HEX client_cert=PATH client_key=PATH client_pem=PATH

Paths: see the functions named `do_...` of `Site`; each is one endpoint.
"""

import base64
import gzip
import hashlib
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TEXT = b"the quick brown fox jumps over the lazy dog"


def brotli_stored(data):
    """A brotli stream of one uncompressed meta-block (RFC 7932 9.2) and an empty last one."""
    head = ((len(data) - 1) << 4) | (1 << 20)
    return head.to_bytes(3, "little") + data + b"\x03"


def zstd_stored(data):
    """A zstd frame of one raw block (RFC 8878 3.1.1)."""
    block = (len(data) << 3) | 1
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(data)]) + block.to_bytes(3, "little") + data


def deflate_bare(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zstd_skipped(data):
    """A zstd frame that is skipped (RFC 8878 3.1.2)."""
    return b"\x5a\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


ENCODED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "gzip-members": ("gzip", gzip.compress(TEXT[:10]) + gzip.compress(TEXT[10:])),
    "gzip-padded": ("gzip", gzip.compress(TEXT) + bytes(1000)),
    "gzip-padded-between": ("gzip", gzip.compress(TEXT[:10]) + bytes(500) + gzip.compress(TEXT[10:]) + bytes(1)),
    "zstd-frames": ("zstd", zstd_stored(TEXT[:10]) + zstd_stored(TEXT[10:])),
    "zstd-skipped": ("zstd", zstd_skipped(b"x" * 99) + zstd_stored(TEXT) + zstd_skipped(b"")),
    "zstd-padded": ("zstd", zstd_stored(TEXT) + bytes(1000)),
    "twice-members": ("zstd, gzip", gzip.compress(zstd_stored(TEXT[:10])) + gzip.compress(zstd_stored(TEXT[10:]))),
    "gzip-trailed": ("gzip", gzip.compress(TEXT) + b"trailer"),
    "zstd-trailed": ("zstd", zstd_stored(TEXT) + b"trailer"),
    "zstd-half": ("zstd", zstd_stored(TEXT) + zstd_stored(TEXT)[:-5]),
    "deflate": ("deflate", zlib.compress(TEXT)),
    "deflate-bare": ("deflate", deflate_bare(TEXT)),
    "br": ("br", brotli_stored(TEXT)),
    "zstd": ("zstd", zstd_stored(TEXT)),
    "twice": ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
    "gzip-broken": ("gzip", gzip.compress(TEXT)[:-12]),
    "gzip-garbage": ("gzip", b"this is not gzip"),
    "unknown": ("rot13", TEXT),
}


def bomb(size):
    """gzip of `size` zero bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    out, block = [], bytes(1 << 20)
    for _ in range(size >> 20):
        out.append(packer.compress(block))
    out.append(packer.flush())
    return b"".join(out)


def pattern(size):
    """Bytes that are all values, NUL and invalid UTF-8 too."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


class State:
    """What lives longer than a connection."""

    lock = threading.Lock()
    connections = 0
    counters = {}
    hung_up = set()
    piles = {}
    changed = threading.Condition(lock)

    @classmethod
    def connection(cls):
        with cls.lock:
            cls.connections += 1
            return cls.connections

    @classmethod
    def count(cls, key):
        with cls.lock:
            cls.counters[key] = cls.counters.get(key, 0) + 1
            return cls.counters[key]


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with connections that are kept."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.number = State.connection()
        self.requests = 0

    def log_message(self, *args):
        pass

    def body(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            data = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return data
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, data=b"", status=200, headers=(), content_type="text/plain", length=True):
        self.send_response(status)
        names = {name.lower() for name, _ in headers}
        if "content-type" not in names:
            self.send_header("Content-Type", content_type)
        for name, value in headers:
            self.send_header(name, value)
        if length and status >= 200 and status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def answer_json(self, value, status=200, headers=()):
        self.answer(json.dumps(value).encode(), status, headers, "application/json")

    def start_chunks(self, content_type="text/plain", headers=()):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def hang_up(self):
        """Ends the connection at once, with what was written."""
        self.close_connection = True
        self.wfile.flush()
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        with State.changed:
            State.hung_up.add(self.number)
            State.changed.notify_all()

    def handle_request(self):
        raise NotImplementedError

    def dispatch(self):
        self.requests += 1
        try:
            self.handle_request()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError, OSError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_PROPFIND = dispatch


class Site(Handler):
    """The endpoints. `first` is the path's first part, `rest` what follows, `query` a dictionary."""

    def handle_request(self):
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        first, _, rest = parts.path.lstrip("/").partition("/")
        endpoint = getattr(self, "do_" + first.replace("-", "_"), None)
        data = self.body()
        if endpoint is None or first.isupper():
            self.answer(b"not found", 404)
        else:
            endpoint(rest, query, data)

    def do_echo(self, rest, query, data):
        """What came, as JSON; with ?status=N under that status."""
        fields = [[name.lower(), value] for name, value in self.headers.items()]
        self.answer_json(
            {
                "method": self.command,
                "target": self.path,
                "path": urlsplit(self.path).path,
                "query": urlsplit(self.path).query,
                "headers": {name: value for name, value in fields},
                "fields": [name + ": " + value for name, value in fields],
                "body": data.decode("latin-1"),
                "base64": base64.b64encode(data).decode(),
                "sha256": hashlib.sha256(data).hexdigest(),
                "length": len(data),
                "connection": self.number,
            },
            int(query.get("status", 200)),
        )

    def do_hello(self, rest, query, data):
        self.answer(b"hello")

    def do_empty(self, rest, query, data):
        self.answer(b"")

    def do_status(self, rest, query, data):
        self.answer(b"status " + rest.encode(), int(rest))

    def do_bare(self, rest, query, data):
        """A status without a body."""
        self.send_response(int(rest))
        if int(rest) not in (204, 304):
            self.send_header("Content-Length", "0")
        self.end_headers()

    def do_folded(self, rest, query, data):
        """Header lines that go on in the next (RFC 9112 5.2)."""
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nX-Folded: one\r\n two\r\n \t  three  \r\nX-Late:\r\n begun later\r\n"
            b"Content-Length:\r\n 2\r\nX-After: yes\r\n\r\nok"
        )

    def do_versioned(self, rest, query, data):
        """A file of ?size bytes and version ?v, with conditions and ranges. The first ?cuts answers end after ?cut bytes."""
        content = pattern(int(query.get("size", 1000)))
        etag = query.get("etag", '"%s"' % query.get("v", "1"))
        modified = "Sun, 06 Nov 1994 08:49:37 GMT"
        fields = []
        if etag != "none":
            fields.append(("ETag", etag))
        if "dated" in query:
            fields.append(("Last-Modified", modified))
        asked = self.headers
        with State.lock:
            State.counters.setdefault("asked " + rest, []).append(
                {name: asked.get(name) for name in ("range", "if-range", "if-none-match", "if-modified-since")}
            )
        unchanged = asked.get("if-none-match") == etag
        if asked.get("if-none-match") is None:
            unchanged = "dated" in query and asked.get("if-modified-since") == modified
        if unchanged:
            self.send_response(304)
            for name, value in fields:
                self.send_header(name, value)
            return self.end_headers()
        start, status = 0, 200
        condition = asked.get("if-range")
        if asked.get("range") and "whole" not in query and (condition in (None, etag, modified) or "blind" in query):
            start = int(asked.get("range").removeprefix("bytes=").split("-")[0])
            status = 206 if start < len(content) else 416
            span = f"{start}-{len(content) - 1}" if status == 206 else "*"
            fields.append(("Content-Range", f"bytes {span}/{len(content)}"))
        if status == 416:
            return self.answer(b"beyond the end", 416, fields)
        content = content[start:]
        if State.count("cuts " + rest) > int(query.get("cuts", 0)):
            return self.answer(content, status, fields)
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: int(query["cut"])])
        self.close_connection = True

    def do_asked(self, rest, query, data):
        """What /versioned/... was asked for so far."""
        with State.lock:
            self.answer_json(State.counters.get("asked " + rest, []))

    def do_method(self, rest, query, data):
        self.answer(self.command.encode(), headers=[("X-Method", self.command)])

    def do_bytes(self, rest, query, data):
        """So many bytes, 0 to 255 over and over; ?chunked and ?sha256 say how and what they are."""
        data = pattern(int(rest))
        headers = [("X-SHA256", hashlib.sha256(data).hexdigest())]
        if "chunked" not in query:
            return self.answer(data, headers=headers, content_type="application/octet-stream")
        self.start_chunks("application/octet-stream", headers)
        for at in range(0, len(data), 10000):
            self.chunk(data[at : at + 10000])
        self.chunk(b"")

    def do_pile(self, rest, query, data):
        """NAME/SIZE: so many bytes; that the connection takes no more, or has them all, counts for the name."""
        name, size = rest.split("/")
        data = memoryview(bytes(int(size)))
        self.answer(data[:0], headers=[("Content-Length", size)], length=False)
        self.wfile.flush()
        try:
            while data:
                data = data[self.connection.send(data, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            pass
        with State.changed:
            State.piles[name] = State.piles.get(name, 0) + 1
            State.changed.notify_all()
        self.wfile.write(data)

    def do_piled(self, rest, query, data):
        """NAME/COUNT: answers when so many have counted."""
        name, count = rest.split("/")
        with State.changed:
            State.changed.wait_for(lambda: State.piles.get(name, 0) >= int(count))
        self.answer(b"piled")

    def do_lines(self, rest, query, data):
        end = query.get("end", "\n")
        self.answer("".join(f"line {n}{end}" for n in range(1, int(rest) + 1)).encode())

    def do_redirect(self, rest, query, data):
        """So many redirects, then /echo."""
        left = int(rest)
        status = int(query.get("status", 302))
        to = f"/redirect/{left - 1}?status={status}" if left > 1 else "/echo"
        self.answer(b"go on", status, [("Location", to)])

    def do_redirect_to(self, rest, query, data):
        self.answer(b"go on", int(query.get("status", 302)), [("Location", query["url"])])

    def do_redirect_nowhere(self, rest, query, data):
        self.answer(b"nowhere", 302)

    def do_slow(self, rest, query, data):
        time.sleep(int(query["ms"]) / 1000)
        self.answer(b"slow")

    def do_drip(self, rest, query, data):
        """?n bytes, one every ?ms."""
        count = int(query["n"])
        self.send_response(200)
        self.send_header("Content-Length", str(count))
        self.end_headers()
        for _ in range(count):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(int(query["ms"]) / 1000)

    def do_endless(self, rest, query, data):
        self.start_chunks()
        while True:
            self.chunk(b"x" * 65536)

    def do_encoded(self, rest, query, data):
        coding, encoded = ENCODED[rest]
        self.answer(encoded, headers=[("Content-Encoding", coding), ("X-Accepted", self.headers.get("accept-encoding", ""))])

    def do_encoded_empty(self, rest, query, data):
        self.answer(b"", headers=[("Content-Encoding", "gzip")])

    def do_bomb(self, rest, query, data):
        self.answer(bomb(int(rest) << 20), headers=[("Content-Encoding", "gzip")])

    def do_truncated(self, rest, query, data):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"0123456789")
        self.hang_up()

    def do_truncated_chunks(self, rest, query, data):
        self.start_chunks()
        self.chunk(b"0123456789")
        self.hang_up()

    def do_garbage(self, rest, query, data):
        self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.hang_up()

    def do_nothing(self, rest, query, data):
        self.hang_up()

    def do_headers(self, rest, query, data):
        """So many header fields of ?size bytes."""
        value = "v" * int(query.get("size", 10))
        self.answer(b"ok", headers=[(f"X-Field-{n}", value) for n in range(int(rest))])

    def do_repeated(self, rest, query, data):
        self.answer(
            b"ok",
            headers=[("X-Many", "one"), ("x-many", "two"), ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/"), ("X-Latin", "caf\xe9")],
        )

    def do_chunked(self, rest, query, data):
        self.start_chunks()
        for piece in (b"one ", b"two ", b"three"):
            self.chunk(piece)
        self.chunk(b"")

    def do_until_close(self, rest, query, data):
        """A body that only the end of the connection ends."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"until the end")
        self.hang_up()

    def do_basic_auth(self, rest, query, data):
        wanted = "Basic " + base64.b64encode(unquote(rest).replace("/", ":", 1).encode()).decode()
        if self.headers.get("authorization") == wanted:
            self.answer(b"welcome")
        else:
            self.answer(b"who are you?", 401, [("WWW-Authenticate", 'Basic realm="test"')])

    def do_connection(self, rest, query, data):
        """Which connection this is, and its how many-th request."""
        self.answer_json({"connection": self.number, "request": self.requests})

    def do_vanish(self, rest, query, data):
        """Answers as if the connection was kept, and closes it."""
        self.answer_json({"connection": self.number})
        self.hang_up()

    def do_vanished(self, rest, query, data):
        """Answers when that ?connection has been closed."""
        number = int(query["connection"])
        with State.changed:
            State.changed.wait_for(lambda: number in State.hung_up)
        self.answer_json({"connection": number})

    def do_flaky(self, rest, query, data):
        """503 for the first ?fail requests of a ?key, then 200."""
        count = State.count(query["key"])
        if count <= int(query["fail"]):
            self.answer_json({"error": "not yet", "count": count}, 503, [("Retry-After", "0")])
        else:
            self.answer_json({"ok": True, "count": count})

    def do_count(self, rest, query, data):
        self.answer(str(State.count("count " + rest)).encode())

    def do_sse(self, rest, query, data):
        """Every form of event; with Last-Event-ID it says so."""
        self.start_chunks("text/event-stream; charset=utf-8")
        last = self.headers.get("last-event-id")
        if last:
            self.chunk(f"event: resumed\ndata: {last}\n\n".encode())
        for piece in (
            b"\xef\xbb\xbf: a comment\n\n",
            b"data: first\n\n",
            b"id: 7\nevent: named\ndata: two\ndata: lines\n\n",
            b"retry: 1500\r\ndata:no space\r\n\r\n",
            b"data: spl",
            b"it\r",
            b"\n\r\n",
            b"data\n\n",
            b"id: 8\n\n",
            b"unknown: x\ndata: last\rid: 9\r\r",
            b"data: without an end",
        ):
            self.chunk(piece)
            self.wfile.flush()
            time.sleep(0.005)
        self.chunk(b"")

    def do_sse_endless(self, rest, query, data):
        self.start_chunks("text/event-stream")
        n = 0
        while True:
            n += 1
            self.chunk(f"id: {n}\ndata: {n}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.01)

    def do_sse_huge(self, rest, query, data):
        """One event whose line never ends."""
        self.start_chunks("text/event-stream")
        self.chunk(b"data: ")
        while True:
            self.chunk(b"x" * 65536)

    def do_sse_broken(self, rest, query, data):
        self.start_chunks("text/event-stream")
        self.chunk(b"data: one\n\n")
        self.hang_up()


class Proxy(Handler):
    """A proxy for CONNECT and for plain HTTP. It knows the name upstream.test as 127.0.0.1."""

    @staticmethod
    def resolve(host):
        return "127.0.0.1" if host == "upstream.test" else host.strip("[]")

    def dispatch(self):
        try:
            self.handle_request()
        except OSError:
            pass
        self.close_connection = True

    do_GET = do_POST = do_CONNECT = dispatch

    def refused(self):
        """Whether a user is wanted and another came: `nobody` is refused."""
        given = self.headers.get("proxy-authorization", "")
        if given == "Basic " + base64.b64encode(b"nobody:wrong").decode():
            self.answer(b"", 407)
            return True
        return False

    def handle_request(self):
        if self.refused():
            return
        if self.command == "CONNECT":
            host, _, port = self.path.rpartition(":")
            upstream = socket.create_connection((self.resolve(host), int(port)))
            self.send_response(200)
            self.end_headers()
            return self.relay(upstream)
        url = urlsplit(self.path)
        data = self.body()
        upstream = socket.create_connection((self.resolve(url.hostname), url.port or 80))
        target = url.path + ("?" + url.query if url.query else "")
        fields = [f"{name}: {value}" for name, value in self.headers.items() if not name.lower().startswith("proxy-")]
        fields += ["Via: 1.1 test", "Connection: close"]
        head = "\r\n".join([f"{self.command} {target} HTTP/1.1", *fields, "", ""])
        upstream.sendall(head.encode("latin-1") + data)
        while True:
            piece = upstream.recv(65536)
            if not piece:
                break
            self.wfile.write(piece)
        upstream.close()
        self.hang_up()

    def relay(self, upstream):
        ends = [self.connection, upstream]
        while True:
            readable, _, _ = select.select(ends, [], [], 30)
            if not readable:
                return
            for end in readable:
                piece = end.recv(65536)
                if not piece:
                    upstream.close()
                    return
                (upstream if end is self.connection else self.connection).sendall(piece)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    context = None

    def get_request(self):
        return self.socket.accept()

    def finish_request(self, request, client):
        # The handshake belongs to the connection's own thread.
        if self.context is not None:
            try:
                request = self.context.wrap_socket(request, server_side=True)
            except (ssl.SSLError, OSError):
                return
        try:
            super().finish_request(request, client)
        finally:
            # `wrap_socket` took the socket over, so the caller's close does not reach it.
            if self.context is not None:
                request.close()

    def handle_error(self, request, client):
        pass


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def certificates(directory):
    """An authority with certificates for a server, a client, another name and the past; another authority."""

    def path(name):
        return os.path.join(directory, name)

    def key(name):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path(name + ".key"))

    def authority(name):
        key(name)
        openssl(
            "req", "-x509", "-new", "-key", path(name + ".key"), "-subj", "/CN=" + name, "-days", "2",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-out", path(name + ".pem"),
        )

    def signed(name, extensions, days):
        key(name)
        openssl("req", "-new", "-key", path(name + ".key"), "-subj", "/CN=" + name, "-out", path(name + ".csr"))
        with open(path(name + ".ext"), "w") as file:
            file.write(extensions)
        openssl(
            "x509", "-req", "-in", path(name + ".csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
            "-CAcreateserial", "-days", days, "-extfile", path(name + ".ext"), "-out", path(name + ".pem"),
        )

    here = "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,DNS:upstream.test,IP:127.0.0.1,IP:::1\n"
    authority("ca")
    authority("other-ca")
    signed("server", here, "2")
    signed("expired", here, "-1")
    signed("wrong-name", "basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:other.example\n", "2")
    # Its own authority, as `openssl req -x509` makes it.
    key("self-signed")
    openssl(
        "req", "-x509", "-new", "-key", path("self-signed.key"), "-subj", "/CN=localhost", "-days", "2",
        "-addext", "subjectAltName=DNS:localhost", "-out", path("self-signed.pem"),
    )
    signed("client", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n", "2")
    with open(path("client-both.pem"), "w") as both:
        for name in ("client.pem", "client.key"):
            with open(path(name)) as part:
                both.write(part.read())
    return path


def tls(path, name, client_authority=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path(name + ".pem"), path(name + ".key"))
    if client_authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(path(client_authority))
    return context


def fingerprint(path):
    with open(path) as file:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()


class Version2(Handler):
    """HTTP/2 (RFC 9113), as much as is needed to send requests away. `away` says how: the name of a function below."""

    away = None

    def handle(self):
        self.connection.settimeout(60)
        try:
            self.serve()
        except (OSError, ValueError):
            pass

    def exactly(self, count):
        data = self.rfile.read(count)
        if len(data) < count:
            raise ValueError("the end")
        return data

    def send(self, kind, flags, stream, payload=b""):
        head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
        self.wfile.write(head + payload)
        self.wfile.flush()

    def serve(self):
        self.exactly(24)
        self.send(4, 0, 0)
        while True:
            head = self.exactly(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            self.exactly(int.from_bytes(head[:3], "big"))
            if kind == 4 and not flags & 1:
                self.send(4, 1, 0)
            # The end of a request, in its header or its body.
            elif kind in (0, 1) and flags & 1:
                number = State.count(self.away)
                if not getattr(self, self.away)(stream, number):
                    self.send(1, 4, stream, b"\x88")
                    self.send(0, 1, stream, str(number).encode())

    def go_away(self, stream, last):
        self.send(7, 0, 0, last.to_bytes(4, "big") + bytes(4))

    def refused(self, stream, number):
        """The first two requests are refused."""
        if number <= 2:
            self.send(3, 0, stream, (7).to_bytes(4, "big"))
        return number <= 2

    def refused_always(self, stream, number):
        self.send(3, 0, stream, (7).to_bytes(4, "big"))
        return True

    def gone(self, stream, number):
        """The first connection ends before it has seen the request."""
        if number == 1:
            self.go_away(stream, 0)
            raise ValueError("gone")
        return False

    def begun(self, stream, number):
        """The first connection ends with the request under way."""
        if number == 1:
            self.go_away(stream, stream)
            raise ValueError("gone")
        return False


def version2(mode):
    return type(mode, (Version2,), {"away": mode})


def main():
    directory = os.path.abspath(sys.argv[1])
    os.makedirs(directory, exist_ok=True)
    path = certificates(directory)
    contexts = {
        "http_port": (Site, None),
        "https_port": (Site, tls(path, "server")),
        "mtls_port": (Site, tls(path, "server", "ca.pem")),
        "wrong_name_port": (Site, tls(path, "wrong-name")),
        "expired_port": (Site, tls(path, "expired")),
        "self_signed_port": (Site, tls(path, "self-signed")),
        "proxy_port": (Proxy, None),
    }
    for mode in ("refused", "refused_always", "gone", "begun"):
        context = tls(path, "server")
        context.set_alpn_protocols(["h2"])
        contexts[mode + "_port"] = (version2(mode), context)
    values = {}
    for name, (handler, context) in contexts.items():
        server = Server(("127.0.0.1", 0), handler)
        server.context = context
        values[name] = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    # A port on which nothing listens: bound, so that nobody else takes it.
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    values["closed_port"] = closed.getsockname()[1]
    values.update(
        ca=path("ca.pem"),
        other_ca=path("other-ca.pem"),
        self_signed=path("self-signed.pem"),
        self_signed_sha256=fingerprint(path("self-signed.pem")),
        server_sha256=fingerprint(path("server.pem")),
        client_cert=path("client.pem"),
        client_key=path("client.key"),
        client_pem=path("client-both.pem"),
    )
    print("READY", " ".join(f"{name}={value}" for name, value in values.items()), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
