#!/usr/bin/env python3
"""A registry for tests, Debian's docker-registry: `python3 registry_server.py DIRECTORY`.

Listens on 127.0.0.1, without TLS and without authentication, and holds `acme/app:1`, an index of images for
linux/amd64 and linux/arm64, and `acme/docker:1`, an image in docker's format. Prints when it answers

    READY registry=127.0.0.1:N registry_layout=DIRECTORY registry_archive=FILE registry_docker=DIRECTORY
          app_digest=DIGEST amd64_digest=DIGEST arm64_digest=DIGEST docker_digest=DIGEST

where the directories hold the same two images as OCI image layouts, and the file the first as a tar archive.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

import registry_images
from shared import free_port


def die_with_parent():
    """The registry ends with this process, however that ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def start(directory, http=None, auth=None):
    """Starts a registry; gives its port."""
    executable = shutil.which("docker-registry") or shutil.which("docker-registry", path="/usr/bin:/usr/sbin")
    if executable is None:
        sys.exit("docker-registry is not installed: apt-get install docker-registry")
    os.makedirs(directory, exist_ok=True)
    for _ in range(5):
        port = free_port()
        configuration = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": os.path.join(directory, "data")}},
            "http": {"addr": f"127.0.0.1:{port}", "secret": "test", **(http or {})},
        }
        if auth:
            configuration["auth"] = auth
        path = os.path.join(directory, "config.json")
        with open(path, "w") as file:
            # JSON is YAML.
            json.dump(configuration, file)
        log = open(os.path.join(directory, "log"), "wb")
        process = subprocess.Popen(
            [executable, "serve", path], stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                time.sleep(0.01)
        process.kill()
    with open(os.path.join(directory, "log")) as file:
        sys.exit(f"docker-registry does not start: {file.read()}")


def main():
    directory = os.path.abspath(sys.argv[1])
    port = start(os.path.join(directory, "registry"))
    root = f"http://127.0.0.1:{port}"
    images, index = registry_images.application()
    images.send(root, "acme/app", "1", index)
    layout = os.path.join(directory, "layout")
    images.layout(layout, [(None, index)])
    archive = os.path.join(directory, "layout.tar")
    with tarfile.open(archive, "w") as file:
        file.add(layout, arcname=".")
    docker, image = registry_images.single()
    docker.send(root, "acme/docker", "1", image)
    named = os.path.join(directory, "docker")
    docker.layout(named, [("one", image), ("two", image)])
    children = json.loads(images.manifests[index["digest"]][0])["manifests"]
    values = {
        "registry": f"127.0.0.1:{port}",
        "registry_layout": layout,
        "registry_archive": archive,
        "registry_docker": named,
        "app_digest": index["digest"],
        "amd64_digest": children[0]["digest"],
        "arm64_digest": children[1]["digest"],
        "docker_digest": image["digest"],
    }
    print("READY", " ".join(f"{name}={value}" for name, value in values.items()), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
