#!/usr/bin/env python3
"""Registries that ask who is there: `python3 registry_auth_server.py DIRECTORY`.

Two of Debian's docker-registry: one over TLS that knows the user `alice` with the password `wonderland`, one
without TLS that takes tokens from a server of this script. That one gives everybody tokens for reading
`public/...`, and alice tokens for everything, for her password or the refresh token `refresh-alice`. Prints

    READY registry_basic=localhost:N registry_ca=FILE registry_sha256=HEX registry_token=127.0.0.1:N
          token_port=N

`http://127.0.0.1:TOKEN_PORT/log` is a list of what the token server was asked for.
"""

import base64
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from http_server import certificates, fingerprint
from registry_server import start

# htpasswd -nbB -C 5 alice wonderland
HTPASSWD = "alice:$2y$05$fYNmi5XKwQNwP0y0n3o7XuVffyeVea1.6mDm4aZ7lsS7aXDBZNdCu\n"
SERVICE = "test-registry"
ISSUER = "test-issuer"


def url_base64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """Signs tokens with a key whose certificate the registry trusts."""

    def __init__(self, directory):
        self.key = os.path.join(directory, "token.key")
        self.certificate = os.path.join(directory, "token.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.certificate,
             "-subj", "/CN=token", "-days", "2"],
            check=True, capture_output=True,
        )
        der = subprocess.run(
            ["openssl", "x509", "-in", self.certificate, "-outform", "DER"], check=True, capture_output=True
        ).stdout
        self.header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}

    def token(self, subject, access):
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "exp": now + 300, "nbf": now - 10, "iat": now,
            "jti": str(now), "access": access,
        }
        text = ".".join(url_base64(json.dumps(part).encode()) for part in (self.header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True, capture_output=True
        ).stdout
        return f"{text}.{url_base64(signature)}"


def allowed(user, scopes):
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":")
        actions = actions.split(",")
        if user is None:
            actions = ["pull"] if name.startswith("public/") and "pull" in actions else []
        access.append({"type": kind, "name": name, "actions": actions})
    return access


def handler(signer, log):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, status, value):
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self):
            url = urlsplit(self.path)
            if url.path == "/log":
                return self.answer(200, log)
            query = parse_qs(url.query)
            user = None
            authorization = self.headers.get("Authorization")
            if authorization:
                pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
                if pair != "alice:wonderland":
                    return self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})
                user = "alice"
            self.give(user, query.get("scope", []), "token")

        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if form.get("refresh_token") != ["refresh-alice"]:
                return self.answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong refresh token"}]})
            self.give("alice", form["scope"][0].split(" "), "access_token")

        def give(self, user, scopes, field):
            log.append({"user": user or "", "scopes": scopes})
            self.answer(200, {field: signer.token(user or "", allowed(user, scopes)), "expires_in": 300})

    return Handler


def main():
    directory = os.path.abspath(sys.argv[1])
    path = certificates(directory)
    with open(path("htpasswd"), "w") as file:
        file.write(HTPASSWD)
    basic = start(
        path("basic"),
        http={"tls": {"certificate": path("server.pem"), "key": path("server.key")}},
        auth={"htpasswd": {"realm": "test", "path": path("htpasswd")}},
    )
    signer = Signer(directory)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(signer, []))
    port = server.server_address[1]
    token = start(
        path("token"),
        auth={
            "token": {
                "realm": f"http://127.0.0.1:{port}/token", "service": SERVICE, "issuer": ISSUER,
                "rootcertbundle": signer.certificate,
            }
        },
    )
    values = {
        "registry_basic": f"localhost:{basic}",
        "registry_ca": path("ca.pem"),
        "registry_sha256": fingerprint(path("server.pem")),
        "registry_token": f"127.0.0.1:{token}",
        "token_port": port,
    }
    print("READY", " ".join(f"{name}={value}" for name, value in values.items()), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
