#!/usr/bin/env python3
"""The system of `systemd_server.py` with a machine in it: a container `web`, booted by systemd-nspawn, with a systemd
and a journal of its own."""

from systemd_server import main

if __name__ == "__main__":
    main(machine="web")
