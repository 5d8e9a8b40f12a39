#!/usr/bin/env python3
"""A registry that misbehaves, in a way that the name of the repository chooses: `python3 registry_fake_server.py DIRECTORY`.

Standard library only. Listens on two ports of 127.0.0.1, the second being another host to a client that follows a
redirect, and prints

    READY fake=127.0.0.1:N fake_other=127.0.0.1:N fake_port=N fake_other_port=N fake_digest=DIGEST

Both answer `/log` with a list of what they were asked: method, path, and the header `authorization`.
"""

import json
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import registry_images
from registry_images import OCI_INDEX, OCI_MANIFEST, encode, sha256

IMAGES, GOOD = registry_images.single()
MANIFEST, MEDIA_TYPE = IMAGES.manifests[GOOD["digest"]]
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def changed(change):
    value = json.loads(MANIFEST)
    change(value)
    return encode(value)


def first_layer(**fields):
    return changed(lambda manifest: manifest["layers"][0].update(fields))


NO_DIGEST = "sha256:" + "0" * 64
# Repositories whose manifest is another one than the good one.
MANIFESTS = {
    "foreign": (first_layer(urls=["http://169.254.169.254/layer"]), MEDIA_TYPE),
    "schema1": (encode({"schemaVersion": 1, "name": "x"}), SCHEMA1),
    "ambiguous": (changed(lambda manifest: manifest.update(manifests=[])), MEDIA_TYPE),
    "confused": (MANIFEST, OCI_INDEX),
    "not-json": (b"<html>", MEDIA_TYPE),
    "huge-layer": (first_layer(size=1 << 50), MEDIA_TYPE),
    "short-layer": (first_layer(size=10), MEDIA_TYPE),
    "negative": (first_layer(size=-1), MEDIA_TYPE),
    "escape": (first_layer(digest="sha256:../../../../etc/passwd"), MEDIA_TYPE),
    "circle": (
        encode({"schemaVersion": 2, "mediaType": OCI_INDEX,
                "manifests": [{"mediaType": OCI_MANIFEST, "digest": NO_DIGEST, "size": 2}]}),
        OCI_INDEX,
    ),
}


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {}
        self.log = {"main": [], "other": []}

    def count(self, name):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1
            return self.counts[name]


def handler(state, role, ports):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, data=b"", **fields):
            """Answers with header fields; a list is as many fields of one name."""
            self.send_response(status)
            for name, values in fields.items():
                for value in values if isinstance(values, list) else [values]:
                    self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def reset(self):
            """Ends the connection the hard way."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def wait_for_end(self):
            """Falls silent until the other side ends the connection."""
            try:
                self.rfile.read()
            except OSError:
                pass
            self.close_connection = True

        def endless(self):
            self.send_response(200)
            self.send_header("Content-Type", MEDIA_TYPE)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            piece = b" " * 65536
            while True:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

        def do_HEAD(self):
            self.do_GET()

        def do_POST(self):
            self.handle_upload()

        def do_PUT(self):
            self.handle_upload()

        def do_GET(self):
            try:
                self.route()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def seen(self):
            entry = {"method": self.command, "path": self.path,
                     "authorization": self.headers.get("Authorization", "")}
            with state.lock:
                state.log[role].append(entry)

        def route(self):
            url = urlsplit(self.path)
            if url.path == "/log":
                with state.lock:
                    return self.answer(200, json.dumps(state.log[role]).encode(), content_type="application/json")
            self.seen()
            if role == "other":
                return self.elsewhere(url)
            parts = url.path.split("/")
            if len(parts) < 5 or parts[1] != "v2":
                return self.answer(404)
            repository, kind, what = parts[2], parts[3], "/".join(parts[4:])
            if self.unusual(repository, kind, what, url):
                return None
            return self.usual(repository, kind, what)

        def usual(self, repository, kind, what):
            if kind == "manifests":
                data, media_type = MANIFESTS.get(repository, (MANIFEST, MEDIA_TYPE))
                if what.startswith("sha256:") and what != sha256(data) and not repository.startswith("wrong"):
                    return self.answer(404)
                return self.answer(200, data, content_type=media_type, docker_content_digest=sha256(data))
            # Repositories that images are sent to have no blobs yet.
            if kind == "blobs" and what in IMAGES.blobs and not repository.startswith(("target", "upload")):
                return self.answer(200, IMAGES.blobs[what])
            return self.answer(404)

        def unusual(self, repository, kind, what, url):
            """Answers where the repository is one that misbehaves here."""
            other = f"http://127.0.0.1:{ports['other']}"
            here = f"{self.command} {repository}/{kind}/{what}"
            if repository == "wrong-manifest" and kind == "manifests":
                self.answer(200, MANIFEST + b" ", content_type=MEDIA_TYPE, docker_content_digest=GOOD["digest"])
            elif repository == "wrong-blob" and kind == "blobs" and what in IMAGES.blobs:
                data = bytearray(IMAGES.blobs[what])
                data[-1] ^= 1
                self.answer(200, bytes(data))
            elif repository == "busy" and state.count(here) <= 2:
                self.answer(429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}', retry_after="0")
            elif repository == "always-busy":
                self.answer(503, retry_after="0")
            elif repository == "patient":
                self.answer(429, retry_after="86400")
            elif repository == "broken" and state.count(here) <= 2:
                self.reset()
            elif repository == "cut" and kind == "blobs" and state.count(here) <= 1 and self.command == "GET":
                data = IMAGES.blobs[what]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.reset()
            elif repository == "stuck" and kind == "blobs":
                data = IMAGES.blobs[what]
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wait_for_end()
            elif repository == "slow":
                self.wait_for_end()
            elif repository == "endless" and kind == "manifests":
                self.endless()
            elif repository == "announced" and kind == "manifests":
                self.send_response(200)
                self.send_header("Content-Length", str(1 << 40))
                self.end_headers()
                self.close_connection = True
            elif repository == "redirected" and kind == "blobs":
                self.answer(307, location=f"{other}/{repository}/{what}?signature=s")
            elif repository == "redirect-metadata" and kind == "blobs":
                self.answer(307, location=f"http://169.254.169.254/{what}")
            elif repository == "redirect-file" and kind == "blobs":
                self.answer(307, location="file:///etc/passwd")
            elif repository == "redirect-loop":
                self.answer(307, location=self.path)
            elif repository == "password" and self.headers.get("Authorization", "") != "Basic dXNlcjpwYXNz":
                self.answer(401, www_authenticate='Basic realm="x"')
            elif repository == "password" and kind == "blobs":
                self.answer(307, location=f"{other}/{repository}/{what}")
            elif repository == "realm-other":
                self.answer(401, www_authenticate=f'Bearer realm="{other}/token",service="s",scope="repository:secret:pull,push"')
            elif repository == "realm-metadata":
                self.answer(401, www_authenticate='Bearer realm="http://169.254.169.254/token",service="s"')
            elif repository == "realm-file":
                self.answer(401, www_authenticate='Bearer realm="file:///etc/passwd",service="s"')
            elif repository == "realm-own":
                if self.headers.get("Authorization") == "Bearer own":
                    return False
                self.answer(401, www_authenticate=f'Bearer realm="http://127.0.0.1:{ports["main"]}/v2/x/token/give",service="s"')
            elif (repository, kind, what) == ("x", "token", "strict"):
                # A token for one repository only.
                asked = parse_qs(url.query).get("scope", [])
                self.answer(200, b'{"token":"own"}') if len(asked) == 1 else self.answer(403)
            elif (repository, kind) == ("x", "token"):
                self.answer(200, b'{"access_token":"own"}')
            elif repository == "target-strict" and self.challenged():
                pass
            elif repository == "realm-endless":
                self.answer(401, www_authenticate='Bearer realm="http://127.0.0.1:%d/v2/endless/manifests/1"' % ports["main"])
            elif kind == "tags":
                self.tags(repository, url)
            else:
                return False
            return True

        def links(self, repository):
            """The header fields that lead to the second page of the repositories `link-...`."""
            path = f"/v2/{repository}/tags/list"
            target = f"<{path}?n=2&last=b>"
            first = f"<{path}?n=2>"
            return {
                "link-order": [f'{target}; n="2"; title="a, b; <c>"; rel="next"'],
                "link-token": [f"{target};REL=Next"],
                "link-list": [f'{first}; rel="first", {target}; rel="next", {first}; rel="last"'],
                "link-lines": [f'{first}; rel="first"', f'{target}; rel="next"'],
                "link-words": [f'{target}; rel="last next"'],
                "link-relative": ['<list?n=2&last=b>; rel="next"'],
                "link-absolute": [f'<http://127.0.0.1:{ports["main"]}{path}?n=2&last=b>; rel="next"'],
                # As a registry names itself that knows nothing of the proxy before it.
                "link-proxy": [f'<http://127.0.0.1{path}?n=2&last=b>; rel="next"'],
                "link-proxy-tls": [f'<https://127.0.0.1:5000{path}?n=2&last=b>; rel="next"'],
                "link-none": [f'{first}; rel="first"'],
                "link-open": [f'<{path}?n=2&last=b; rel="next"'],
                "link-two": [f"{target}; rel=next", f"{first}; rel=next"],
                "link-host": [f'<https://registry.invalid{path}?n=2&last=b>; rel="next"'],
                "link-repository": ['</v2/other/tags/list?n=2&last=b>; rel="next"'],
            }[repository]

        def challenged(self):
            """Asks for a token if the request has none."""
            if self.headers.get("Authorization") == "Bearer own":
                return False
            realm = f"http://127.0.0.1:{ports['main']}/v2/x/token/strict"
            self.answer(401, www_authenticate=f'Bearer realm="{realm}",service="s"')
            return True

        def tags(self, repository, url):
            last = parse_qs(url.query).get("last", [""])[0]
            if repository.startswith("link-"):
                tags, link = (["c"], []) if last == "b" else (["a", "b"], self.links(repository))
                return self.answer(200, encode({"name": repository, "tags": tags}), link=link)
            if repository == "pages":
                page = int(last[1:]) // 2 if last else 0
                tags = [f"t{2 * page + 1}", f"t{2 * page + 2}"]
                link = {} if page == 2 else {"link": f'</v2/pages/tags/list?n=2&last={tags[1]}>; rel="next"'}
                return self.answer(200, encode({"name": repository, "tags": tags}), **link)
            if repository == "page-circle":
                link = f'</v2/{repository}/tags/list?last=a>; rel="next"'
                return self.answer(200, encode({"name": repository, "tags": ["a"]}), link=link)
            if repository == "page-endless":
                count = state.count("page-endless")
                link = f'</v2/{repository}/tags/list?last={count}>; rel="next"'
                tags = [f"t{count}-{n}" for n in range(1000)]
                return self.answer(200, encode({"name": repository, "tags": tags}), link=link)
            if repository == "page-other":
                link = f'<http://127.0.0.1:{ports["other"]}/v2/x/tags/list>; rel="next"'
                return self.answer(200, encode({"name": repository, "tags": ["a"]}), link=link)
            if repository == "page-nonsense":
                return self.answer(200, encode({"tags": ["../../x"]}))
            return self.answer(200, encode({"name": repository, "tags": None}))

        def elsewhere(self, url):
            """The other host: blobs, and a token for every client."""
            if url.path == "/token":
                return self.answer(200, encode({"token": "stolen"}))
            digest = url.path.split("/")[-1]
            if digest in IMAGES.blobs:
                return self.answer(200, IMAGES.blobs[digest])
            return self.answer(404)

        def handle_upload(self):
            length = int(self.headers.get("Content-Length", "0"))
            data = self.rfile.read(length)
            self.seen()
            url = urlsplit(self.path)
            parts = url.path.split("/")
            repository = parts[2] if len(parts) > 2 else ""
            if role == "other":
                return self.answer(201)
            if repository == "upload-other" and self.command == "POST":
                return self.answer(202, location=f"http://127.0.0.1:{ports['other']}/upload")
            if repository == "upload-busy" and "uploads" in parts and self.command == "PUT" \
                    and state.count(url.query) <= 2:
                return self.answer(503, retry_after="0")
            if repository == "target-strict" and self.challenged():
                return None
            if self.command == "POST" and repository.startswith("target-mount-") and "mount" in parse_qs(url.query):
                return self.answer(int(repository.split("-")[-1]))
            if self.command == "POST":
                return self.answer(202, location=f"/v2/{repository}/blobs/uploads/1?state=a%2Fb")
            if "uploads" in parts:
                query = parse_qs(url.query)
                good = query.get("digest") == [sha256(data)] and query.get("state") == ["a/b"]
                return self.answer(201 if good else 400)
            return self.answer(201)

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True


def main():
    state, ports, servers = State(), {}, {}
    for role in ("main", "other"):
        servers[role] = Server(("127.0.0.1", 0), handler(state, role, ports))
        ports[role] = servers[role].server_address[1]
    values = {
        "fake": f"127.0.0.1:{ports['main']}", "fake_port": ports["main"],
        "fake_other": f"127.0.0.1:{ports['other']}", "fake_other_port": ports["other"],
        "fake_digest": GOOD["digest"],
    }
    print("READY", " ".join(f"{name}={value}" for name, value in values.items()), flush=True)
    threading.Thread(target=servers["other"].serve_forever, daemon=True).start()
    servers["main"].serve_forever()


if __name__ == "__main__":
    sys.exit(main())
