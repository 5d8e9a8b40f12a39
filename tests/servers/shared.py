"""What servers that all cases of a run share have in common.

Such a server's script has the line `SHARED = True`. It is started once, and told of each case that needs it by a line
on its standard input, which it answers by a line of its own:

    READY name=value ...

It ends when its input does.
"""

import atexit
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time


def free_port():
    """A port that is free, for a program that must be told one. It is below those that the system gives to programs that ask
    for any (ip_local_port_range), so that nobody is given it meanwhile."""
    for _ in range(1000):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    sys.exit("no port of 127.0.0.1 from 20000 to 31999 is free")


def account(name):
    """The account that a server runs under where it refuses to run as root; none where we are not root."""
    if os.geteuid() != 0:
        return None
    for candidate in (name, "nobody"):
        try:
            return pwd.getpwnam(candidate)
        except KeyError:
            pass
    sys.exit(f"there is no user {name}")


def as_user(owner):
    """Arguments of `subprocess` that run a program under an account."""
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def give(directory, owner):
    """Makes everything in a directory the account's own."""
    if owner is None:
        return
    for path, _, files in os.walk(directory):
        for name in [path, *(os.path.join(path, file) for file in files)]:
            os.chown(name, owner.pw_uid, owner.pw_gid)


def new_directory():
    """A directory that goes with this process."""
    directory = tempfile.mkdtemp(prefix="assay-")
    # The server's own account must get through.
    os.chmod(directory, 0o755)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return directory


def launch(command, owner, log):
    """Starts a program that ends with this process."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", **as_user(owner)
        )
    atexit.register(process.wait)
    atexit.register(process.kill)
    return process


def wait_for(process, log, works):
    """Waits until `works()` does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if works():
            return
        time.sleep(0.02)
    with open(log, errors="replace") as text:
        sys.exit(f"the server does not come up:\n{text.read()}")


def serve(values_of_case):
    """Answers each line of input with the values for a new case, by its number."""
    for number, _ in enumerate(sys.stdin):
        print("READY", " ".join(f"{name}={value}" for name, value in values_of_case(number).items()), flush=True)
