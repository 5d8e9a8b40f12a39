"""Images for the registries of tests: blobs and manifests, as a layout on disk or sent to a registry."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import urllib.request

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def encode(value):
    return json.dumps(value, separators=(",", ":")).encode()


class Images:
    """Blobs by digest; manifests by digest, with their media types, children first."""

    def __init__(self):
        self.blobs = {}
        self.manifests = {}

    def blob(self, data, media_type):
        digest = sha256(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def manifest(self, value, media_type):
        data = encode(value)
        digest = sha256(data)
        self.manifests[digest] = (data, media_type)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def image(self, platform, layers, docker=False):
        """An image of layers, each a table of files."""
        archives = [tar(files) for files in layers]
        parts = platform.split("/")
        config = {"os": parts[0], "architecture": parts[1]}
        if len(parts) > 2:
            config["variant"] = parts[2]
        config["config"] = {"Env": ["PATH=/bin"], "Cmd": ["/hello"]}
        config["rootfs"] = {"type": "layers", "diff_ids": [sha256(archive) for archive in archives]}
        config["history"] = [{"created_by": "test"} for _ in archives]
        layer = DOCKER_LAYER if docker else OCI_LAYER
        descriptor = self.manifest(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
                "config": self.blob(encode(config), DOCKER_CONFIG if docker else OCI_CONFIG),
                "layers": [self.blob(gzip.compress(archive, mtime=0), layer) for archive in archives],
            },
            DOCKER_MANIFEST if docker else OCI_MANIFEST,
        )
        return dict(descriptor, platform={key: config[key] for key in ("os", "architecture", "variant") if key in config})

    def index(self, children):
        return self.manifest({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}, OCI_INDEX)

    def layout(self, directory, named):
        """Writes a layout; `named` is a list of names (or none) and descriptors."""
        os.makedirs(os.path.join(directory, "blobs", "sha256"), exist_ok=True)

        def write(name, data):
            with open(os.path.join(directory, name), "wb") as file:
                file.write(data)

        for digest, data in [*self.blobs.items(), *((digest, data) for digest, (data, _) in self.manifests.items())]:
            write("blobs/" + digest.replace(":", "/"), data)
        entries = []
        for name, descriptor in named:
            entry = dict(descriptor)
            if name:
                entry["annotations"] = {"org.opencontainers.image.ref.name": name}
            entries.append(entry)
        write("oci-layout", encode({"imageLayoutVersion": "1.0.0"}))
        write("index.json", encode({"schemaVersion": 2, "manifests": entries}))

    def send(self, root, repository, tag, descriptor):
        """Sends everything to a registry at `root`, and tags one manifest."""

        def ask(method, url, data=b"", content_type="application/octet-stream"):
            request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": content_type})
            return urllib.request.urlopen(request, timeout=20)

        base = f"{root}/v2/{repository}"
        for digest, data in self.blobs.items():
            location = ask("POST", f"{base}/blobs/uploads/").headers["Location"]
            ask("PUT", f"{location}&digest={digest}", data)
        for digest, (data, media_type) in self.manifests.items():
            ask("PUT", f"{base}/manifests/{digest}", data, media_type)
        data, media_type = self.manifests[descriptor["digest"]]
        ask("PUT", f"{base}/manifests/{tag}", data, media_type)


def application():
    """An index of one image for amd64 and one for arm64, which share a layer."""
    images = Images()
    base = {"etc/base.txt": b"base\n" * 2000}
    children = [
        images.image("linux/amd64", [base, {"hello": b"amd64"}]),
        images.image("linux/arm64/v8", [base, {"hello": b"arm64"}]),
    ]
    return images, images.index(children)


def single():
    """An image in docker's own format."""
    images = Images()
    return images, images.image("linux/amd64", [{"hello": b"docker"}], docker=True)
