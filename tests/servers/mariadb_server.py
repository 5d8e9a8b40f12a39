#!/usr/bin/env python3
"""MariaDB for tests: `python3 mariadb_server.py DIRECTORY`. One server for all cases, a database for each:

    READY my_url=mysql://tester:PASSWORD@127.0.0.1:PORT/DATABASE my_port=N my_db=NAME my_password=TEXT my_ca=PATH

Its certificate is for localhost and 127.0.0.1. `tester` may do everything but give rights away.
"""

import os
import shutil
import subprocess
import sys

from http_server import certificates
from shared import account, as_user, free_port, give, launch, new_directory, serve, wait_for

SHARED = True
PASSWORD = "tops3cret"


def install(data, directory, owner):
    """Makes the system's tables. Several that do it at once may find the kernel short of places for asynchronous
    reads; then it is done again."""
    for attempt in range(3):
        shutil.rmtree(data, ignore_errors=True)
        os.mkdir(data)
        give(directory, owner)
        done = subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal", "--skip-name-resolve"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", **as_user(owner),
        )
        if done.returncode == 0:
            return
    sys.exit(f"mariadb-install-db fails: {done.stdout.decode(errors='replace')[-2000:]}")


def main():
    server = shutil.which("mariadbd", path=os.environ["PATH"] + ":/usr/sbin")
    if server is None:
        sys.exit("MariaDB is not installed: apt-get install mariadb-server")
    directory, owner = new_directory(), account("mysql")
    path = certificates(directory)
    install(path("data"), directory, owner)
    port, socket, log = free_port(), path("socket"), path("log")
    settings = {
        "datadir": path("data"), "port": port, "socket": socket, "bind-address": "127.0.0.1", "skip-log-bin": "1",
        "ssl-ca": path("ca.pem"), "ssl-cert": path("server.pem"), "ssl-key": path("server.key"), "local-infile": "1",
        "innodb-flush-log-at-trx-commit": "0", "innodb-buffer-pool-size": "32M", "innodb-log-file-size": "16M",
        "skip-name-resolve": "1", "pid-file": path("pid"), "character-set-server": "utf8mb4",
    }
    process = launch([server, "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())], owner, log)

    def sql(text):
        command = ["mariadb", "--no-defaults", f"--socket={socket}", "-u", "root", "-e", text]
        return subprocess.run(command, capture_output=True).returncode == 0

    wait_for(process, log, lambda: sql("SELECT 1"))
    sql(f"CREATE USER tester@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO tester@'%'")

    def case(number):
        name = f"case_{number}"
        if not sql(f"CREATE DATABASE {name}"):
            sys.exit(f"the database {name} cannot be made")
        return {
            "my_url": f"mysql://tester:{PASSWORD}@127.0.0.1:{port}/{name}", "my_port": port, "my_db": name,
            "my_password": PASSWORD, "my_ca": path("ca.pem"),
        }

    serve(case)


if __name__ == "__main__":
    main()
