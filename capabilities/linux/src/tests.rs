//! The files as different kernels write them, and this machine's own.

use super::*;
use crate::parse::*;
use crate::process::{stat, status};
use assay_capability_api::{Limits, Policy, RunState, policy};
use bindings::assay::host::linux::Value;

fn get<'a>(row: &'a Row, name: &str) -> Option<&'a Value> {
    row.iter().find(|field| field.name == name).map(|field| &field.value)
}

fn int(row: &Row, name: &str) -> Option<i64> {
    match get(row, name)? {
        Value::Integer(number) => Some(*number),
        other => panic!("{name} is {other:?}"),
    }
}

fn txt<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    match get(row, name)? {
        Value::Text(text) => Some(text),
        other => panic!("{name} is {other:?}"),
    }
}

fn run(allow: &str, deny: &str) -> Run {
    let mut rules = Policy::default();
    let parse = |text: &str| policy::parse(text, Path::new("/"), &[&Linux]).unwrap();
    rules.allow(parse(allow));
    rules.deny(parse(deny));
    let limits = Limits { host_bytes: Some(1 << 20), ..Limits::default() };
    RunState { limits, ..RunState::new(rules, "/".into()) }.into()
}

#[test]
fn names_in_snake_case() {
    for (name, shown) in [
        ("MemTotal", "mem_total"),
        ("Active(anon)", "active_anon"),
        ("SReclaimable", "s_reclaimable"),
        ("HugePages_Total", "huge_pages_total"),
        ("Committed_AS", "committed_as"),
        ("NFS_Unstable", "nfs_unstable"),
        ("DirectMap4k", "direct_map4k"),
        ("DirectMap2M", "direct_map2m"),
        ("VmRSS", "vm_rss"),
        ("PPid", "ppid"),
        ("NSpid", "ns_pid"),
        ("NStgid", "ns_tgid"),
        ("FDSize", "fd_size"),
        ("THP_enabled", "thp_enabled"),
        ("voluntary_ctxt_switches", "voluntary_ctxt_switches"),
        ("Größe", "gr_e"),
        ("()", ""),
        ("", ""),
    ] {
        assert_eq!(snake_case(name), shown, "{name}");
    }
}

#[test]
fn versions_of_kernels() {
    for (release, number) in [
        ("6.1.0-18-amd64", "6.1.0"),
        ("5.15.167.4-microsoft-standard-WSL2", "5.15.167.4"),
        ("6.18.", "6.18"),
        ("weird", ""),
    ] {
        assert_eq!(version(release), number, "{release}");
    }
}

#[test]
fn uptime_and_load() {
    assert_eq!(uptime("13041.62 13565.43\n").unwrap().len(), 2);
    let emulated = uptime("13041.62\n").unwrap();
    assert!(matches!(get(&emulated, "uptime_secs"), Some(Value::Number(n)) if *n == 13041.62));
    assert!(uptime("").is_none() && uptime("inf 1").is_none() && uptime("x y").is_none());

    let row = load("0.20 1.18 12.12 3/480 4194304\n").unwrap();
    assert_eq!((int(&row, "running"), int(&row, "total")), (Some(3), Some(480)));
    assert_eq!(int(&row, "last_pid"), Some(4_194_304));
    assert!(matches!(get(&row, "fifteen"), Some(Value::Number(n)) if *n == 12.12));
    assert_eq!(load("0.20 1.18 12.12").unwrap().len(), 3);
    assert!(load("0.20 1.18").is_none());
}

#[test]
fn cpu_lines() {
    let content = "cpu  10 2 3 400 5 6 7 8 9 1\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu11 1 2 3 4\nintr 5 5\nbtime 1795356381\ncpux 1\n";
    let row = cpu(content).unwrap();
    assert_eq!((int(&row, "user"), int(&row, "guest_nice")), (Some(10), Some(1)));
    let cores = cpu_cores(content);
    assert_eq!(cores.len(), 2);
    assert_eq!((int(&cores[1], "cpu"), int(&cores[1], "idle")), (Some(11), Some(4)));
    // Kernels before 2.6 have four numbers.
    assert_eq!(int(&cores[1], "iowait"), None);
    assert_eq!(boot_time(content), Some(1_795_356_381));
    assert!(cpu("intr 1\n").is_none());
    let largest = cpu("cpu  18446744073709551615 x 3\n").unwrap();
    assert_eq!(
        (int(&largest, "user"), int(&largest, "nice"), int(&largest, "system")),
        (Some(i64::MAX), None, Some(3))
    );
}

#[test]
fn memory_is_in_bytes() {
    let row = memory(
        "MemTotal:       24684084 kB\nHugePages_Total:       3\nOdd: 5 MB\nNone:\nHugepagesize:  2048 kB\n",
    );
    assert_eq!(int(&row, "mem_total"), Some(24_684_084 * 1024));
    assert_eq!(int(&row, "huge_pages_total"), Some(3));
    assert_eq!(int(&row, "hugepagesize"), Some(2048 * 1024));
    assert_eq!(row.len(), 3);
    assert_eq!(int(&memory("MemTotal: 18446744073709551615 kB"), "mem_total"), Some(i64::MAX));
}

#[test]
fn interfaces() {
    let rows = network(
        "Inter-|   Receive                            |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\neth0:0:7 8\nwlan0:4294967296 1\n",
    );
    assert_eq!(rows.len(), 3);
    assert_eq!(txt(&rows[0], "name"), Some("lo"));
    assert_eq!(
        (int(&rows[0], "rx_bytes"), int(&rows[0], "tx_bytes"), int(&rows[0], "tx_compressed")),
        (Some(1), Some(9), Some(16))
    );
    assert_eq!((txt(&rows[1], "name"), int(&rows[1], "rx_bytes")), (Some("eth0:0"), Some(7)));
    assert_eq!((txt(&rows[2], "name"), int(&rows[2], "rx_bytes")), (Some("wlan0"), Some(1 << 32)));
}

#[test]
fn disks_of_all_ages() {
    let rows = disks(
        " 254 0 vda 1605116 152344 167981338 2112721 88278 301941 68519808 210561 0 174964 2339990 110406 40 29215936 16517 2991 189\n   8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n   3 1 hda1 35486 38030 38030 38031\nbroken\n",
    );
    assert_eq!(rows.len(), 3);
    assert_eq!((int(&rows[0], "time_flushing"), int(&rows[0], "major")), (Some(189), Some(254)));
    assert_eq!(int(&rows[0], "bytes_read"), Some(167_981_338 * 512));
    assert_eq!((int(&rows[1], "weighted_time_in_progress"), int(&rows[1], "discards")), (Some(11), None));
    assert_eq!((int(&rows[2], "writes"), int(&rows[2], "sectors_written")), (Some(38030), Some(38031)));
    assert_eq!((int(&rows[2], "bytes_written"), int(&rows[2], "time_reading")), (Some(38031 * 512), None));
}

const NUMBERS: &str = "S 1 2 3 34816 -1 4194304 102 0 0 0 7 8 -1 0 -2 -20 1 0 1304164 2998272 421 18446744073709551615 94097709223936 94097709248041 140726664832656 1 2 3 4 5 6 7 8 9 17 1 99 2 5 6 7 94097709263888 1 2 3 4 5 6 0";

#[test]
fn names_of_programs_may_hold_anything() {
    for comm in ["cat", "a b", ") S 1 (", "x) R 2 3 (y", "(sd-pam)", "", "))) ", "line\nend", ") "] {
        let row = stat(&format!("42 ({comm}) {NUMBERS}\n"), 4096).unwrap();
        assert_eq!(txt(&row, "comm"), Some(comm));
        assert_eq!((int(&row, "pid"), txt(&row, "state")), (Some(42), Some("S")), "{comm}");
        assert_eq!(
            (int(&row, "ppid"), int(&row, "tpgid"), int(&row, "nice")),
            (Some(1), Some(-1), Some(-20))
        );
        assert_eq!((int(&row, "rss"), int(&row, "rss_bytes")), (Some(421), Some(421 * 4096)));
        assert_eq!(
            (int(&row, "exit_signal"), int(&row, "processor"), int(&row, "rt_priority")),
            (Some(17), Some(1), Some(99))
        );
        assert_eq!((int(&row, "cguest_time"), int(&row, "rsslim")), (Some(7), None));
    }
}

#[test]
fn addresses_are_not_given() {
    let row = stat(&format!("42 (x) {NUMBERS}"), 4096).unwrap();
    for field in &row {
        if let Value::Integer(number) = field.value {
            assert!(number < 1 << 40, "{} looks like an address", field.name);
        }
    }
    assert!(row.iter().all(|field| !field.name.is_empty()));
}

#[test]
fn stat_of_old_kernels_and_broken_ones() {
    let old = stat("7 (kswapd0) S 1 1 1 0 -1 2112 0 0 0 0 5 6 0 0 20 0 1 0 55 0 0 4294967295", 4096).unwrap();
    assert_eq!(
        (int(&old, "starttime"), int(&old, "rsslim"), int(&old, "processor")),
        (Some(55), Some(4_294_967_295), None)
    );
    for broken in ["", "42", "42 (x)", "42 (x) ", "x (y) S 1", "42 x S 1", "42 (x S 1"] {
        assert!(stat(broken, 4096).is_none(), "{broken}");
    }
}

#[test]
fn fields_of_status() {
    let row = status(
        "Name:\ta\\nb\\\\c: d\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t42\nPPid:\t1\nUid:\t0\t1000\t0\t0\nGroups:\t \nNSpid:\t42\t7\nVmRSS:\t    1740 kB\nSigQ:\t0/96365\nSigPnd:\t0000000000000010\nCapEff:\t1000000000000000\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\nThreads:\t1\nx\nSpeculation_Store_Bypass:\tthread vulnerable\n",
    )
    .unwrap();
    assert_eq!(txt(&row, "name"), Some("a\nb\\c: d"));
    assert_eq!((txt(&row, "state"), txt(&row, "state_text")), (Some("S"), Some("sleeping")));
    assert_eq!((int(&row, "pid"), int(&row, "ppid"), int(&row, "threads")), (Some(42), Some(1), Some(1)));
    assert!(matches!(get(&row, "uid"), Some(Value::Integers(ids)) if ids == &[0, 1000, 0, 0]));
    assert!(matches!(get(&row, "groups"), Some(Value::Integers(ids)) if ids.is_empty()));
    assert!(matches!(get(&row, "ns_pid"), Some(Value::Integers(ids)) if ids == &[42, 7]));
    assert_eq!(int(&row, "vm_rss"), Some(1740 * 1024));
    for (name, value) in [
        ("sig_q", "0/96365"),
        ("sig_pnd", "0000000000000010"),
        ("cap_eff", "1000000000000000"),
        ("cpus_allowed", "3"),
        ("cpus_allowed_list", "0-1"),
        ("umask", "0022"),
        ("speculation_store_bypass", "thread vulnerable"),
    ] {
        assert_eq!(txt(&row, name), Some(value), "{name}");
    }
    assert!(status("").is_none() && status("Name:\tx\n").is_none());
}

#[cfg(target_os = "linux")]
#[test]
fn this_machine() {
    let run = run("linux", "");
    for source in [
        Source::Kernel,
        Source::Uptime,
        Source::Load,
        Source::Cpu,
        Source::CpuCores,
        Source::Memory,
        Source::Network,
        Source::ProcessStat,
        Source::ProcessStatus,
    ] {
        let rows = read::read(&run, source, 0).unwrap();
        assert!(rows.iter().all(|row| !row.is_empty()) && !rows.is_empty(), "{source:?}");
    }
    let own = read::read(&run, Source::ProcessStat, std::process::id()).unwrap().remove(0);
    assert_eq!(int(&own, "pid"), Some(i64::from(std::process::id())));
    let missing = read::read(&run, Source::ProcessStatus, u32::MAX).unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
    assert!(missing.message.contains("4294967295"), "{}", missing.message);
}

#[test]
fn bytes_are_counted() {
    let mut run = run("linux", "");
    run.settings().expect("it has not begun").limits.host_bytes = Some(10);
    assert_eq!(read::read(&run, Source::Memory, 0).unwrap_err().code, ErrorCode::Limit);
}

#[test]
fn scopes() {
    assert!(Linux.scope("system", Path::new("/")).is_ok());
    assert!(Linux.scope("proc:1", Path::new("/")).is_err());
    let decide = |allow: &str, deny: &str, source, pid| check(&run(allow, deny), source, pid).is_ok();
    let own = std::process::id();
    for (allow, deny, source, pid, allowed) in [
        ("linux", "", Source::Memory, 0, true),
        ("linux", "", Source::ProcessStat, 1, true),
        ("linux=system", "", Source::Memory, 0, true),
        ("linux=system", "", Source::ProcessStat, 0, true),
        ("linux=system", "", Source::ProcessStatus, own, true),
        ("linux=system", "", Source::ProcessStat, own + 1, false),
        ("linux=proc", "", Source::ProcessStat, own + 1, true),
        ("linux=proc", "", Source::ProcessStat, 0, true),
        ("linux=proc", "", Source::Memory, 0, false),
        ("linux", "linux=proc", Source::ProcessStat, own + 1, false),
        ("linux", "linux=proc", Source::ProcessStat, 0, true),
        ("linux", "linux=system,linux=proc", Source::ProcessStat, 0, false),
    ] {
        assert_eq!(decide(allow, deny, source, pid), allowed, "{allow} {deny} {source:?} {pid}");
    }
}

#[test]
fn what_a_denial_is_about() {
    let scope = |source: &str, pid| Linux.target("read", &[Val::Enum(source.into()), Val::U32(pid)]).scope;
    assert_eq!(scope("memory", 0).as_deref(), Some("system"));
    assert_eq!(scope("process-stat", 0).as_deref(), Some("system"));
    assert_eq!(scope("process-stat", 1).as_deref(), Some("proc"));
}
