#!/usr/bin/env python3
"""PostgreSQL for tests: `python3 postgres_server.py DIRECTORY`. One server for all cases, a database for each:

    READY pg_url=postgres://tester:PASSWORD@127.0.0.1:PORT/DATABASE pg_port=N pg_db=NAME pg_password=TEXT
          pg_ca=PATH pg_other_ca=PATH

Its certificate is for localhost and 127.0.0.1. The role `tester` owns its database and is no superuser; `admin` is one.
"""

import glob
import os
import subprocess
import sys

from http_server import certificates
from shared import account, as_user, free_port, give, launch, new_directory, serve, wait_for

SHARED = True
PASSWORD = "tops3cret"


def programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[4]))
    if not found:
        sys.exit("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1]


def start(directory):
    """Starts a server in a directory. Gives its port, what makes paths in the directory, and what runs statements as `admin`."""
    owner, bin = account("postgres"), programs()
    path = certificates(directory)
    with open(path("password"), "w") as file:
        file.write(PASSWORD)
    os.mkdir(path("data"))
    give(directory, owner)
    subprocess.run(
        [f"{bin}/initdb", "-D", path("data"), "-U", "admin", "-A", "scram-sha-256", "--pwfile", path("password"),
         "-N", "-E", "UTF8", "--locale", "C", "--no-instructions"],
        check=True, stdout=subprocess.DEVNULL, cwd="/", **as_user(owner),
    )
    port = free_port()
    settings = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "ssl": "on",
        "ssl_cert_file": path("server.pem"), "ssl_key_file": path("server.key"), "ssl_ca_file": path("ca.pem"),
        "shared_buffers": "16MB", "max_connections": "200",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    log = path("log")
    process = launch([f"{bin}/postgres", "-D", path("data"), "-p", str(port), *options], owner, log)
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD}

    def sql(*statements):
        command = [f"{bin}/psql", "-qX", "-h", "127.0.0.1", "-p", str(port), "-U", "admin", "-d", "postgres"]
        command += ["-v", "ON_ERROR_STOP=1"]
        for statement in statements:
            command += ["-c", statement]
        return subprocess.run(command, env=environment, capture_output=True).returncode == 0

    wait_for(process, log, lambda: sql("SELECT 1"))
    sql(f"CREATE ROLE tester LOGIN PASSWORD '{PASSWORD}'")
    return port, path, sql


def database(sql, number):
    """Makes the database of a case, and gives its name."""
    name = f"case_{number}"
    if not sql(f"CREATE DATABASE {name} OWNER tester"):
        sys.exit(f"the database {name} cannot be made")
    return name


def main():
    port, path, sql = start(new_directory())

    def case(number):
        name = database(sql, number)
        return {
            "pg_url": f"postgres://tester:{PASSWORD}@127.0.0.1:{port}/{name}", "pg_port": port, "pg_db": name,
            "pg_password": PASSWORD, "pg_ca": path("ca.pem"), "pg_other_ca": path("other-ca.pem"),
        }

    serve(case)


if __name__ == "__main__":
    main()
