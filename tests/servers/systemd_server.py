#!/usr/bin/env python3
"""A real systemd for tests: `python3 systemd_server.py DIRECTORY`, as root.

Debian's systemd, journald, machined and dbus-daemon, of this machine's own /usr, started as process 1 of new
namespaces with a control group and a network of their own; nothing of the machine's own systemd is used or seen. The
units are those in `UNITS`. Prints one line when the system is up

    READY systemd_bus=ADDRESS systemd_journal=DIRECTORY systemd_bin=DIRECTORY

- systemd_bus: the address of its bus, for DBUS_SYSTEM_BUS_ADDRESS
- systemd_journal: the directory of its journal's files
- systemd_bin: a directory for PATH in which journalctl, systemctl and systemd-run run inside of it

Ends, with everything in it, when this process does. `machine_server.py` has a machine running in it too.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CLONE_NEWNS, CLONE_NEWCGROUP = 0x00020000, 0x02000000
PR_SET_PDEATHSIG = 1
UNIT_PATH = "/etc/systemd/system:/units"
LIBRARY = "/lib/systemd/system"

# Of Debian's own units only those that log, register machines and stop the system.
DEBIAN = (
    "systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket systemd-machined.service "
    "dbus.socket halt.target systemd-halt.service poweroff.target reboot.target shutdown.target umount.target final.target machine.slice "
    "systemd-poweroff.service systemd-reboot.service exit.target systemd-exit.service"
).split()
# What units depend on by default: nothing to do for them here.
TARGETS = "sysinit basic sockets timers paths slices machines local-fs local-fs-pre multi-user".split()

UNITS = {
    "box.target": """
        [Unit]
        Description=The system of the tests
        Wants=systemd-journald.service flush.service dbus.service ready.service job.timer uptime.timer
        """,
    "dbus.service": """
        [Unit]
        Description=The bus of the tests
        DefaultDependencies=no
        Requires=dbus.socket
        [Service]
        Type=notify
        NotifyAccess=main
        ExecStart=@/usr/bin/dbus-daemon dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation --syslog-only
        """,
    "flush.service": """
        [Unit]
        Description=Puts the journal where it stays
        After=systemd-journald.service
        [Service]
        Type=oneshot
        ExecStart=/usr/bin/journalctl --flush
        """,
    "ready.service": """
        [Unit]
        Description=Tells that the bus answers
        After=dbus.service flush.service %(after)s
        Wants=%(after)s
        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c 'until busctl status org.freedesktop.systemd1 && %(check)s; do sleep 0.02; done >/dev/null 2>&1; echo >/run/ready'
        """,
    "web.service": """
        [Unit]
        Description=A web server
        Documentation=https://example.com/web
        [Service]
        Environment=PASSWORD=hunter2
        ExecStart=/bin/sh -c 'echo started; exec sleep infinity'
        ExecReload=/bin/echo reloaded
        [Install]
        WantedBy=box.target
        """,
    "tick.service": """
        [Unit]
        Description=Writes one line
        [Service]
        Type=oneshot
        ExecStart=/bin/echo tick
        """,
    "say@.service": """
        [Unit]
        Description=Writes a number of lines
        [Service]
        Type=oneshot
        ExecStart=/usr/bin/seq -f 'line %%%%g' %%i
        [Install]
        WantedBy=box.target
        DefaultInstance=3
        """,
    "bytes.service": """
        [Unit]
        Description=Writes what is no text
        [Service]
        Type=oneshot
        ExecStart=/usr/bin/printf 'a\\\\001\\\\377b\\\\n'
        """,
    "long.service": """
        [Unit]
        Description=Writes an entry of 3 MB
        [Service]
        Type=oneshot
        ExecStart=/usr/bin/python3 /etc/long.py
        ExecStart=/bin/echo after
        """,
    "broken.service": """
        [Unit]
        Description=Fails
        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c 'exit 3'
        """,
    "slow.service": """
        [Unit]
        Description=Takes long to start
        [Service]
        Type=oneshot
        ExecStart=/bin/sleep 600
        """,
    "manual.service": """
        [Unit]
        Description=Is not to be started by hand
        RefuseManualStart=yes
        [Service]
        ExecStart=/bin/sleep infinity
        """,
    "job.service": """
        [Unit]
        Description=What the timers start
        [Service]
        Type=oneshot
        ExecStart=/bin/true
        """,
    "job.timer": """
        [Unit]
        Description=Once a year
        [Timer]
        OnCalendar=*-01-01 00:00:00
        """,
    "uptime.timer": """
        [Unit]
        Description=Ten days after the start
        [Timer]
        OnActiveSec=10d
        Unit=job.service
        """,
    # As Debian's, except for a machine that has this system's /usr.
    "systemd-nspawn@.service": """
        [Unit]
        Description=Machine %%i
        Wants=systemd-machined.service
        After=systemd-machined.service dbus.service
        [Service]
        ExecStart=/usr/bin/systemd-nspawn --quiet --keep-unit --notify-ready=yes --boot --machine=%%i --directory=/var/lib/machines/%%i --bind-ro=/usr --link-journal=no --private-users=no --setenv=SYSTEMD_UNIT_PATH=%(unit_path)s
        KillMode=mixed
        Type=notify
        RestartForceExitStatus=133
        SuccessExitStatus=133
        Slice=machine.slice
        Delegate=yes
        """,
}

# journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): what is too long for a packet is in a sealed file.
LONG = """\
import fcntl, os, socket, struct
text = b"x" * 3_000_000
file = os.memfd_create("entry", os.MFD_ALLOW_SEALING)
with open(file, "wb", closefd=False) as entry:
    entry.write(b"MESSAGE\\n" + struct.pack("<Q", len(text)) + text + b"\\n")
fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.connect("/run/systemd/journal/socket")
socket.send_fds(journal, [b""], [file])
"""

FILES = {
    "etc/long.py": LONG,
    "etc/os-release": 'ID=assay-test\nNAME="Assay test"\nPRETTY_NAME="Assay test"\nVERSION_ID="1"\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nmessagebus:x:101:101::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nadm:x:4:\nmessagebus:x:101:\nsystemd-journal:x:102:\nnogroup:x:65534:\n",
}

libc = ctypes.CDLL(None, use_errno=True)


def run(*command):
    subprocess.run(command, check=True)


def new_namespace(flag, what):
    if libc.unshare(flag) != 0:
        sys.exit(f"a new {what} namespace is not allowed here: {os.strerror(ctypes.get_errno())}; it needs root")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def tree(root, machine_id, storage, replacements):
    """The files of a system whose /usr is this machine's."""
    for directory in "usr proc sys dev run tmp root units etc/systemd/system var/lib/machines var/log/journal".split():
        os.makedirs(os.path.join(root, directory), exist_ok=True)
    for link in "bin", "sbin", "lib", "lib64":
        os.symlink(f"usr/{link}", os.path.join(root, link))
    os.symlink("../run", os.path.join(root, "var/run"))
    for name, text in FILES.items():
        write(os.path.join(root, name), text)
    write(os.path.join(root, "etc/machine-id"), machine_id + "\n")
    journal = f"[Journal]\nStorage={storage}\nRateLimitIntervalSec=0\nSystemMaxUse=64M\nRuntimeMaxUse=64M\n"
    write(os.path.join(root, "etc/systemd/journald.conf"), journal)
    units = os.path.join(root, "units")
    for name in DEBIAN:
        if os.path.exists(os.path.join(LIBRARY, name)):
            shutil.copy(os.path.join(LIBRARY, name), units)
    os.symlink("systemd-machined.service", os.path.join(units, "dbus-org.freedesktop.machine1.service"))
    # What SIGINT starts.
    os.symlink("reboot.target", os.path.join(units, "ctrl-alt-del.target"))
    os.symlink("box.target", os.path.join(units, "default.target"))
    os.symlink("web.service", os.path.join(units, "frontend.service"))
    os.symlink("/dev/null", os.path.join(root, "etc/systemd/system/masked.service"))
    for name in TARGETS:
        write(os.path.join(units, f"{name}.target"), "[Unit]\nDefaultDependencies=no\n")
    for name, text in UNITS.items():
        lines = [line.strip() for line in (text % replacements).strip().splitlines()]
        write(os.path.join(units, name), "\n".join(lines) + "\n")


def control_group():
    """Moves this process into a new control group of version 2, and tells its directory. It is mounted where no test's
    directory is: removing a directory unmounts what is on it in other namespaces."""
    run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    group = tempfile.mkdtemp(prefix="assay-test-", dir="/sys/fs/cgroup")
    with open(os.path.join(group, "cgroup.procs"), "w") as file:
        file.write(str(os.getpid()))
    return group


def remove_group(group):
    """Removes a control group when nothing runs in it any more."""
    deadline = time.monotonic() + 20
    while os.path.exists(group) and time.monotonic() < deadline:
        try:
            for directory, _, _ in os.walk(group, topdown=False):
                os.rmdir(directory)
        except OSError:
            time.sleep(0.1)


def boot(directory, root):
    """Becomes the first process of a system at `root`. This process is the first of its namespaces."""
    run("mount", "--bind", root, root)
    run("mount", "--bind", "-o", "ro", "/usr", f"{root}/usr")
    # The bus is reached from outside by this directory.
    run("mount", "--bind", f"{directory}/run", f"{root}/run")
    run("mount", "-t", "proc", "proc", f"{root}/proc")
    run("mount", "-t", "sysfs", "-o", "ro", "sysfs", f"{root}/sys")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", f"{root}/dev")
    for device in "null", "zero", "full", "random", "urandom", "tty":
        write(f"{root}/dev/{device}", "")
        run("mount", "--bind", f"/dev/{device}", f"{root}/dev/{device}")
    for name in "pts", "shm":
        os.mkdir(f"{root}/dev/{name}")
    run("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", f"{root}/dev/pts")
    run("mount", "-t", "tmpfs", "tmpfs", f"{root}/dev/shm")
    os.symlink("pts/ptmx", f"{root}/dev/ptmx")
    new_namespace(CLONE_NEWCGROUP, "control group")
    run("mount", "-t", "cgroup2", "cgroup2", f"{root}/sys/fs/cgroup")
    os.chdir(root)
    run("pivot_root", ".", "tmp")
    os.chroot("/")
    os.chdir("/")
    run("/bin/umount", "-l", "/tmp")
    environment = {"container": "assay-test", "SYSTEMD_UNIT_PATH": UNIT_PATH, "PATH": "/usr/sbin:/usr/bin", "TERM": "dumb"}
    command = ["/lib/systemd/systemd", "--system", "--log-target=journal", "--show-status=0"]
    os.execve(command[0], command, environment)


def announce(directory, group, first):
    """Says that the system is up, from outside, and removes its control group when it is gone."""
    end = os.pidfd_open(first)
    ready = os.open(f"{directory}/run/ready", os.O_RDONLY | os.O_NONBLOCK)
    told, _, _ = select.select([end, ready], [], [], 120)
    if ready not in told:
        if end not in told:
            os.kill(first, signal.SIGKILL)
            select.select([end], [], [])
        return remove_group(group)
    os.close(ready)
    with open(f"/proc/{first}/task/{first}/children") as file:
        inside = next(child for child in file.read().split() if int(child) != os.getpid())
    for program in "journalctl", "systemctl", "systemd-run":
        path = f"{directory}/bin/{program}"
        write(path, f'#!/bin/sh\nexec nsenter --target {inside} --mount --pid --ipc --net --uts /usr/bin/{program} "$@"\n')
        os.chmod(path, 0o755)
    print(
        "READY",
        f"systemd_bus=unix:path={directory}/run/dbus/system_bus_socket",
        f"systemd_journal={directory}/run/log/journal",
        f"systemd_bin={directory}/bin",
        flush=True,
    )
    # Nobody waits for the output of what is left to do.
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in 0, 1, 2:
        os.dup2(null, descriptor)
    select.select([end], [], [])
    remove_group(group)


def main(machine=None):
    if len(sys.argv) > 2:
        boot(sys.argv[1], sys.argv[2])
    # A test run that is killed takes this with it.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    directory = os.path.abspath(sys.argv[1])
    for program in "/lib/systemd/systemd", "/usr/bin/dbus-daemon", "/usr/bin/systemd-nspawn":
        if not os.path.exists(program):
            sys.exit(f"{program} is missing: apt-get install systemd dbus systemd-container")
    root = os.path.join(directory, "root")
    os.mkdir(os.path.join(directory, "run"))
    # The system writes to it when it is up.
    os.mkfifo(os.path.join(directory, "run/ready"))
    # The system is up when its bus answers, and its machine's.
    check = f"systemctl --machine={machine} is-active box.target" if machine else "true"
    after = f"systemd-nspawn@{machine}.service" if machine else ""
    os.makedirs(root)
    # The directory of its /run is on a disk, which journald does not move its files away from.
    tree(root, "0" * 31 + "1", "volatile", {"after": after, "check": check, "unit_path": UNIT_PATH})
    if machine:
        inside = os.path.join(root, "var/lib/machines", machine)
        tree(inside, "1" * 32, "persistent", {"after": "", "check": "true", "unit_path": UNIT_PATH})
    # What is mounted from here on is seen by nobody else, and gone with the last process in here. The system gets
    # a namespace of its own below, because changing the root changes it for all in one.
    new_namespace(CLONE_NEWNS, "mount")
    run("mount", "--make-rprivate", "/")
    first = os.getpid()
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        group = os.read(reading, 4096).decode()
        announce(directory, group, first)
        os._exit(0)
    group = control_group()
    os.write(writing, group.encode())
    os.execvp(
        "unshare",
        ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--kill-child=KILL"]
        + [sys.executable, "-I", "-S", "-B", os.path.abspath(__file__), directory, root],
    )


if __name__ == "__main__":
    main()
