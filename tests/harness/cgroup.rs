//! Control groups, by scripts that see another /sys/fs/cgroup than this test does.
//!
//! A machine has one tree of control groups, of one version, and which controllers a test finds there is not its
//! choice. So the executable is started in a mount namespace of its own: once with a directory of plain files in the
//! form of the kernel's bound over /sys/fs/cgroup, so that every number is known, and once each with the kernel's own
//! trees of version 2 and 1 mounted there. Nothing of that is seen outside, and it ends with the process. It takes root,
//! or a user who may make user namespaces.

use assay_tests::executable::{Directory, Finished, path, program};
use std::process::Stdio;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("numbers_of_known_groups", numbers_of_known_groups),
    ("links_in_the_tree_lead_nowhere", links_in_the_tree_lead_nowhere),
    ("version_1_and_both_of_known_files", version_1_and_both_of_known_files),
    ("the_version_of_this_machine", the_version_of_this_machine),
    ("groups_of_the_kernel", groups_of_the_kernel),
    ("version_1_of_the_kernel", version_1_of_the_kernel),
];

/// Runs a script with `allow`, after the shell commands `mounts` in a mount namespace of its own. In both `$TMP` is the
/// directory.
pub fn run(directory: &Directory, mounts: &str, allow: &str, script: &str) -> Finished {
    directory.write("case.lua", script);
    let is_root = std::fs::metadata(directory.path()).is_ok_and(|about| {
        use std::os::unix::fs::MetadataExt;
        about.uid() == 0
    });
    let mut command = program("unshare");
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    let shell = format!("set -e\n{mounts}\nexec \"$ASSAY\" run --allow \"$ALLOW\" case.lua");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &shell])
        .current_dir(directory.path())
        .env("TMP", directory.path())
        .env("ASSAY", path())
        .env("ALLOW", allow)
        .stdin(Stdio::null());
    command.output().expect("unshare can be started (Debian: util-linux)").into()
}

fn passes(done: &Finished) {
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
}

const BIND: &str = "mount --bind \"$TMP/tree\" /sys/fs/cgroup";

/// A tree of version 2 with one service.
fn known_tree() -> Directory {
    let directory = Directory::new();
    for (file, content) in [
        ("cgroup.controllers", "cpuset cpu io memory pids\n"),
        ("cgroup.procs", "1\n2\n"),
        ("cpu.stat", "usage_usec 900\nuser_usec 600\nsystem_usec 300\n"),
        ("system.slice/cgroup.controllers", "cpu memory pids\n"),
        ("system.slice/cgroup.procs", ""),
        ("system.slice/web.service/cgroup.controllers", "cpu io memory pids\n"),
        ("system.slice/web.service/cgroup.procs", "10\n4194303\n0\n"),
        (
            "system.slice/web.service/cpu.stat",
            "usage_usec 18446744073709551615\nuser_usec 60\nsystem_usec 40\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\nnew_in_linux_9 x\n",
        ),
        ("system.slice/web.service/memory.current", "1048576\n"),
        ("system.slice/web.service/memory.max", "2097152\n"),
        ("system.slice/web.service/memory.high", "max\n"),
        ("system.slice/web.service/memory.low", "0\n"),
        ("system.slice/web.service/memory.peak", "1572864\n"),
        ("system.slice/web.service/memory.swap.current", "4096\n"),
        ("system.slice/web.service/memory.swap.max", "max\n"),
        (
            "system.slice/web.service/memory.events",
            "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n",
        ),
        ("system.slice/web.service/pids.current", "7\n"),
        ("system.slice/web.service/pids.max", "max\n"),
        (
            "system.slice/web.service/io.stat",
            "259:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 \n",
        ),
        ("system.slice/old.service/cgroup.controllers", "\n"),
        ("system.slice/old.service/cgroup.procs", ""),
        ("system.slice/ssh.service/cgroup.controllers", "memory pids\n"),
        ("system.slice/ssh.service/memory.current", "5\n"),
        ("system.slice/ssh.service/pids.current", "1\n"),
        ("system.slice/ssh.service/pids.max", "100\n"),
    ] {
        directory.write(&format!("tree/{file}"), content);
    }
    directory
}

fn numbers_of_known_groups() {
    let directory = known_tree();
    passes(&run(
        &directory,
        BIND,
        "cgroup",
        r#"
        assert.eq(cgroup.version(), "v2")
        local root = "/sys/fs/cgroup/"
        assert.eq(table.concat(cgroup.list("/"), " "), root .. "system.slice")
        local services = cgroup.list("system.slice")
        assert.eq(#services, 3)
        assert.eq(services[3], root .. "system.slice/web.service")
        local web = services[3]
        local cpu = cgroup.cpu_stat(web)
        assert.eq(cpu.usage_usec, math.maxinteger)
        assert.eq(cpu.throttled_usec, 7)
        assert.eq(cpu.new_in_linux_9, nil)
        assert.eq(cgroup.cpu_stat(root).user_usec, 600)
        local memory = cgroup.memory(web)
        local expected = {
          current = 1048576, max = 2097152, peak = 1572864, low = 0, swap_current = 4096, oom = 3, oom_kill = 2,
        }
        for name, value in pairs(expected) do assert.eq(memory[name], value, name) end
        for name, value in pairs(memory) do assert.eq(expected[name], value, name) end
        local io = cgroup.io("system.slice/web.service")
        assert.eq(#io, 2)
        assert.eq(io[1].device, "259:0")
        assert.eq(io[1].wbytes, 314773504)
        assert.eq(io[2].device, "8:0")
        assert.eq(io[2].rbytes, nil)
        local pids = cgroup.pids(web)
        assert.eq(pids.current, 7)
        assert.eq(pids.max, nil)
        assert.eq(cgroup.pids("system.slice/ssh.service").max, 100)
        assert.eq(table.concat(cgroup.procs(web), " "), "10 4194303 0")
        assert.eq(#cgroup.procs("system.slice"), 0)
        -- Old kernels have no memory.peak, and a controller may be off.
        assert.eq(cgroup.memory("system.slice/ssh.service").peak, nil)
        for _, name in ipairs({ "memory", "io", "pids", "cpu_stat" }) do
          local ok, err = pcall(cgroup[name], "system.slice/old.service")
          assert.eq(ok, false, name)
          assert.eq(err.code, "not_found", name)
          assert.contains(err.message, "enabled: none")
        end
        "#,
    ));
    passes(&run(
        &directory,
        BIND,
        "cgroup=system.slice/web*",
        r#"
        assert.eq(cgroup.version(), "v2")
        assert.eq(cgroup.pids("system.slice/web.service").current, 7)
        assert.eq(select(2, pcall(cgroup.pids, "system.slice/ssh.service")).code, "denied")
        assert.eq(select(2, pcall(cgroup.list, "system.slice")).code, "denied")
        "#,
    ));
}

fn links_in_the_tree_lead_nowhere() {
    let directory = known_tree();
    directory.write("outside/cgroup.controllers", "memory pids\n");
    directory.write("outside/pids.current", "5\n");
    directory.write("outside/secret", "secret 1\n");
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, directory.path().join("tree").join(name))
            .expect("it can be linked");
    };
    let outside = directory.path().join("outside");
    link(&outside.display().to_string(), "out.slice");
    link("system.slice", "inside.slice");
    link(&outside.join("secret").display().to_string(), "system.slice/old.service/cpu.stat");
    link("/proc/self/root", "system.slice/proc.service");
    passes(&run(
        &directory,
        BIND,
        "cgroup",
        r#"
        for _, path in ipairs({ "out.slice", "inside.slice", "inside.slice/web.service", "system.slice/proc.service/etc" }) do
          local ok, err = pcall(cgroup.pids, path)
          assert.eq(ok, false, path)
          assert.eq(err.code, "invalid_argument", path)
        end
        assert.eq(pcall(cgroup.cpu_stat, "system.slice/old.service"), false)
        assert.eq(#cgroup.list("/"), 1)
        assert.eq(#cgroup.list("system.slice"), 3)
        "#,
    ));
}

fn version_1_and_both_of_known_files() {
    let directory = Directory::new();
    directory.write("tree/cpu/cgroup.procs", "1\n");
    directory.write("tree/cpu/tasks", "1\n");
    directory.write("tree/cpu/cpu.stat", "nr_periods 0\n");
    let script = |version: &str| {
        format!(
            r#"
            assert.eq(cgroup.version(), "{version}")
            local ok, err = pcall(cgroup.cpu_stat, "cpu")
            assert.eq(ok, false)
            assert.eq(err.code, "unsupported")
            assert.contains(err.message, "version 2")
            "#
        )
    };
    passes(&run(&directory, BIND, "cgroup", &script("v1")));
    directory.write("tree/unified/cgroup.controllers", "\n");
    directory.write("tree/unified/a.slice/cgroup.controllers", "\n");
    directory.write("tree/unified/a.slice/cgroup.procs", "3\n");
    let hybrid = script("hybrid") + "assert.eq(cgroup.procs('unified/a.slice')[1], 3)";
    passes(&run(&directory, BIND, "cgroup", &hybrid));
    let nothing = Directory::new();
    nothing.write("tree/x", "");
    passes(&run(&nothing, BIND, "cgroup", "assert.eq(select(2, pcall(cgroup.version)).code, 'unsupported')"));
}

/// What is mounted where, by the kernel's own table: the type of each mount below /sys/fs/cgroup.
fn mounted() -> Vec<(String, String)> {
    let table = std::fs::read_to_string("/proc/self/mounts").expect("there is /proc");
    let mount = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, at, kind, ..] = words.as_slice() else { return None };
        at.starts_with("/sys/fs/cgroup").then(|| (at.to_string(), kind.to_string()))
    };
    table.lines().filter_map(mount).collect()
}

fn the_version_of_this_machine() {
    let mounts = mounted();
    let kinds = |kind: &str| mounts.iter().any(|(_, own)| own == kind);
    let expected = if mounts.iter().any(|(at, kind)| at == "/sys/fs/cgroup" && kind == "cgroup2") {
        "v2"
    } else if kinds("cgroup2") {
        "hybrid"
    } else if kinds("cgroup") {
        "v1"
    } else {
        "unsupported"
    };
    let directory = Directory::new();
    let script = format!(
        "local ok, version = pcall(cgroup.version)\nassert.eq(ok and version or version.code, '{expected}')"
    );
    passes(&run(&directory, ":", "cgroup", &script));
}

/// Whether the kernel has a file system type at all.
fn kernel_has(kind: &str) -> bool {
    let table = std::fs::read_to_string("/proc/filesystems").expect("there is /proc");
    table.lines().any(|line| line.split('\t').next_back() == Some(kind))
}

fn groups_of_the_kernel() {
    assert!(kernel_has("cgroup2"), "this kernel is older than Linux 4.5");
    let directory = Directory::new();
    // A new group of the kernel's tree, with the process of the script in it; it is removed by the shell afterwards.
    let group = format!("assay-test-{}", std::process::id());
    let mounts = format!(
        "mount -t cgroup2 none /sys/fs/cgroup\n\
         home=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)\n\
         mkdir /sys/fs/cgroup/{group} /sys/fs/cgroup/{group}/below\n\
         trap 'echo $$ > \"$home/cgroup.procs\"; rmdir /sys/fs/cgroup/{group}/below /sys/fs/cgroup/{group}' EXIT\n\
         echo $$ > /sys/fs/cgroup/{group}/cgroup.procs\n\
         \"$ASSAY\" run --allow \"$ALLOW\" case.lua\n\
         exit 0"
    );
    passes(&run(
        &directory,
        &mounts,
        "cgroup,linux",
        &format!(
            r#"
            assert.eq(cgroup.version(), "v2")
            assert.gt(cgroup.cpu_stat("/").usage_usec, 0)
            local found = false
            for _, path in ipairs(cgroup.list("/")) do
              found = found or path == "/sys/fs/cgroup/{group}"
            end
            assert.eq(found, true)
            assert.eq(cgroup.list("{group}")[1], "/sys/fs/cgroup/{group}/below")
            local own, there = linux.proc_stat().pid, false
            for _, pid in ipairs(cgroup.procs("{group}")) do
              there = there or pid == own
            end
            assert.eq(there, true, "the script's process is not in its group")
            assert.eq(#cgroup.procs("{group}/below"), 0)
            assert.eq(math.type(cgroup.cpu_stat("{group}").user_usec), "integer")
            -- Which controllers are free for version 2 is the machine's affair; either way it is said plainly.
            for _, name in ipairs({{ "memory", "io", "pids" }}) do
              local ok, result = pcall(cgroup[name], "{group}")
              assert.eq(ok and "table" or result.code, ok and type(result) or "not_found", name)
            end
            "#
        ),
    ));
}

fn version_1_of_the_kernel() {
    if !kernel_has("cgroup") {
        // Kernels can be built without it; then there is nothing to be tested.
        return;
    }
    let directory = Directory::new();
    // A tree of version 1 without controllers can be made on any machine, whatever uses the controllers.
    let mounts = format!(
        "mount -t tmpfs none /sys/fs/cgroup\n\
         mkdir /sys/fs/cgroup/assay\n\
         mount -t cgroup -o none,name=assay-test-{} none /sys/fs/cgroup/assay",
        std::process::id()
    );
    passes(&run(
        &directory,
        &mounts,
        "cgroup",
        r#"
        assert.eq(cgroup.version(), "v1")
        local ok, err = pcall(cgroup.procs, "assay")
        assert.eq(err.code, "unsupported")
        assert.contains(err.message, "this machine has only version 1")
        "#,
    ));
}
