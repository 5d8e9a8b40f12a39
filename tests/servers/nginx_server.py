#!/usr/bin/env python3
"""nginx for tests: `python3 nginx_server.py DIRECTORY`.

Makes certificates and a configuration in DIRECTORY, prints one line when nginx answers

    READY nginx_http_port=N nginx_https_port=N nginx_ca=PATH nginx_files=PATH

and becomes nginx, so that ending this process ends nginx.
"""

import os
import shutil
import socket
import sys
import time

from http_server import certificates, pattern
from shared import free_port


def announce(values):
    """Waits until nginx accepts connections, and says so."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", values["nginx_https_port"]), 1).close()
        except OSError:
            time.sleep(0.02)
            continue
        print("READY", " ".join(f"{name}={value}" for name, value in values.items()), flush=True)
        return


def main():
    directory = os.path.abspath(sys.argv[1])
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        sys.exit("nginx is not installed: apt-get install nginx-light")
    files = os.path.join(directory, "files")
    os.makedirs(files, exist_ok=True)
    with open(os.path.join(files, "big.bin"), "wb") as big:
        big.write(pattern(5_000_000))
    path = certificates(directory)
    ports = {"HTTP_PORT": free_port(), "HTTPS_PORT": free_port()}
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "nginx.conf.template")) as template:
        text = template.read().replace("@DIRECTORY@", directory)
    for name, port in ports.items():
        text = text.replace(f"@{name}@", str(port))
    configuration = path("nginx.conf")
    with open(configuration, "w") as file:
        file.write(text)
    values = {
        "nginx_http_port": ports["HTTP_PORT"],
        "nginx_https_port": ports["HTTPS_PORT"],
        "nginx_ca": path("ca.pem"),
        "nginx_files": files,
    }
    if os.fork() == 0:
        announce(values)
        os._exit(0)
    os.execv(nginx, [nginx, "-p", directory, "-e", path("error.log"), "-c", configuration])


if __name__ == "__main__":
    main()
