"""Runs a server of the tests: `/usr/bin/python3 -I -S -B isolated.py PACKAGES NAME_server.py ARGUMENTS...`.

It finds Python's standard library, the files in this directory and the packages in PACKAGES, which `cargo xtask setup`
fetched, and nothing that a user or a distribution has installed beside them.
"""

import os
import runpy
import sys

packages, script = sys.argv[1:3]
if not os.path.isdir(packages):
    sys.exit(f"{packages} is missing: run cargo xtask setup")
sys.path[:0] = [os.path.dirname(script), packages]
sys.argv = sys.argv[2:]
runpy.run_path(script, run_name="__main__")
