#!/usr/bin/env python3
"""PgBouncer before PostgreSQL for tests: `python3 pgbouncer_server.py DIRECTORY`. It gives each transaction the next of its
connections to the server (pool_mode = transaction, one after the other), as large services are run:

    READY pooler_url=postgres://tester:PASSWORD@127.0.0.1:PORT/DATABASE pooler_port=N pooler_db=NAME
"""

import os
import shutil
import socket
import sys

from postgres_server import PASSWORD, database, start
from shared import account, free_port, give, launch, new_directory, serve, wait_for

SHARED = True


def main():
    server = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if server is None:
        sys.exit("PgBouncer is not installed: apt-get install pgbouncer")
    postgres, _, sql = start(new_directory())
    directory, owner, port = new_directory(), account("postgres"), free_port()
    path = lambda name: os.path.join(directory, name)
    with open(path("users"), "w") as file:
        file.write(f'"tester" "{PASSWORD}"\n')
    settings = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
        "auth_file": path("users"), "pool_mode": "transaction", "default_pool_size": 3, "server_round_robin": 1,
        "pidfile": path("pid"), "max_client_conn": 100,
    }
    with open(path("ini"), "w") as file:
        file.write(f"[databases]\n* = host=127.0.0.1 port={postgres}\n[pgbouncer]\n")
        file.writelines(f"{name} = {value}\n" for name, value in settings.items())
    give(directory, owner)
    process = launch([server, path("ini")], owner, path("log"))

    def answers():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(process, path("log"), answers)

    def case(number):
        name = database(sql, number)
        return {
            "pooler_url": f"postgres://tester:{PASSWORD}@127.0.0.1:{port}/{name}", "pooler_port": port, "pooler_db": name,
        }

    serve(case)


if __name__ == "__main__":
    main()
