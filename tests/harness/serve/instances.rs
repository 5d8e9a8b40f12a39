//! `instances` of `http.serve`: they share the requests, and one that fails is started again.

use super::{Serving, curl, serve};
use assay_tests::executable::{Directory, assay, program};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("instances_share_the_requests", instances_share_the_requests),
    ("instances_agree_on_the_routes", instances_agree_on_the_routes),
    ("an_instance_with_other_routes_serves_nothing", an_instance_with_other_routes_serves_nothing),
    ("an_instance_that_fails_is_started_again", an_instance_that_fails_is_started_again),
    (
        "an_instance_that_always_fails_waits_longer_each_time",
        an_instance_that_always_fails_waits_longer_each_time,
    ),
    ("an_instance_may_end_the_run", an_instance_may_end_the_run),
    ("there_are_at_most_64_instances", there_are_at_most_64_instances),
];

fn instances_share_the_requests() {
    let mut server = serve(
        &[],
        "local me = tostring({}) .. math.random(1 << 40)\n\
         serve({ GET = { ['/'] = function() for _ = 1, 300000 do end return me end } }, { instances = 3 })",
    );
    let url = server.url("/");
    let mut seen = BTreeSet::new();
    let until = Instant::now() + Duration::from_secs(20);
    while seen.len() < 3 && Instant::now() < until {
        let askers: Vec<_> = (0..6)
            .map(|_| {
                let url = url.clone();
                std::thread::spawn(move || curl(&[&url]))
            })
            .collect();
        seen.extend(askers.into_iter().map(|asker| asker.join().expect("curl ends")));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    server.signal("TERM");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
}

/// Tables have another order in each instance; a route must be the same one in all.
fn instances_agree_on_the_routes() {
    let server = serve(
        &[],
        "local me, routes = math.random(1 << 40), {}\n\
         for i = 1, 20 do routes['/' .. i] = function() return i .. ' ' .. me .. '\\n' end end\n\
         serve({ GET = routes }, { instances = 3 })",
    );
    let urls: Vec<_> = (1..=20).map(|route| server.url(&format!("/{route}"))).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    let until = Instant::now() + Duration::from_secs(20);
    while seen.len() < 3 && Instant::now() < until {
        let answers = curl(&urls);
        assert_eq!(answers.lines().count(), 20, "{answers}");
        for (asked, answer) in (1..).zip(answers.lines()) {
            let (route, instance) = answer.split_once(' ').expect("two numbers");
            assert_eq!(route.parse(), Ok(asked), "{answers}");
            seen.insert(instance.to_string());
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

fn an_instance_with_other_routes_serves_nothing() {
    let server = serve(
        &["--allow", "fs=rw:."],
        "local path = '/first' if fs.exists('first') then path = '/other' print('other') else fs.write('first', '') end\n\
         serve({ GET = { [path] = function() return path end } }, { instances = 2 })",
    );
    server.wait_for("other");
    server.wait_for("other");
    assert!(server.errors().contains("has other routes than the first one"), "{}", server.errors());
    assert_eq!(curl(&[&server.url("/first")]), "/first");
}

/// The first instance is the one that makes the directory `first`; the others count themselves.
const NUMBERED: &str = "local number = 1\n\
    if fs.exists('first') then fs.append('starts', 'x') number = 1 + #fs.read('starts') else fs.write('first', '') end\n\
    local function numbered(options) serve({ GET = {\n\
      ['/'] = function() for _ = 1, 300000 do end return tostring(number) end,\n\
      ['/fill'] = function() local t = {} while true do t[#t + 1] = ('x'):rep(1 << 20) .. #t end end,\n\
      ['/exit'] = function() if number > 1 then os.exit(7) end return 'first' end,\n\
    } }, options) end\n";

impl Serving {
    /// Asks until an answer is this one.
    fn ask_until(&self, path: &str, wanted: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            let url = self.url(path);
            let askers: Vec<_> = (0..4)
                .map(|_| {
                    let url = url.clone();
                    std::thread::spawn(move || {
                        program("curl").args(["-s", &url]).output().expect("curl runs")
                    })
                })
                .collect();
            let answers = askers.into_iter().map(|asker| asker.join().expect("curl ends").stdout);
            if answers.filter(|answer| answer == wanted.as_bytes()).count() > 0 {
                return;
            }
        }
        panic!("no answer was {wanted}");
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).expect("a file")
    }
}

fn an_instance_that_fails_is_started_again() {
    // The second instance fails at its start, the third is sound.
    let script =
        format!("{NUMBERED} if number == 2 then error('not like this') end numbered({{ instances = 2 }})");
    let mut server = serve(&["--allow", "fs=rw:."], &script);
    server.ask_until("/", "3");
    // The first one goes on all the time.
    server.ask_until("/", "1");
    let errors = server.errors();
    assert_eq!(errors.matches("is started again").count(), 1, "{errors}");
    assert!(errors.contains("not like this"), "{errors}");
    server.signal("TERM");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
}

fn an_instance_that_always_fails_waits_longer_each_time() {
    let script = format!(
        "{NUMBERED} if number > 1 then print('start') error('never') end numbered({{ instances = 2 }})"
    );
    let began = Instant::now();
    let mut server = serve(&["--allow", "fs=rw:."], &script);
    server.wait_for("start");
    for _ in 0..3 {
        server.wait_for("start");
    }
    // 100, 200 and 400 milliseconds: what it prints may come late, but never early.
    assert!(began.elapsed() > Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(curl(&[&server.url("/")]), "1");
    let errors = server.errors();
    assert!(
        errors.contains("in 100ms") && errors.contains("in 200ms") && errors.contains("in 400ms"),
        "{errors}"
    );
    // It does not wait for the pause.
    server.signal("TERM");
    assert_eq!(server.end(Duration::from_secs(20)), Some(0));
}

fn an_instance_may_end_the_run() {
    let mut server = serve(
        &["--allow", "fs=rw:."],
        &format!("{NUMBERED} numbered({{ instances = 2 }}) print('unreached')"),
    );
    server.ask_until("/", "2");
    let ask = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/exit");
        program("curl").args(["-s", "--max-time", "20", &url]).output().expect("curl runs")
    };
    let until = Instant::now() + Duration::from_secs(20);
    while ask(server.port).stdout == b"first" && Instant::now() < until {}
    assert_eq!(server.end(Duration::from_secs(20)), Some(7));
}

fn there_are_at_most_64_instances() {
    let directory = Directory::new();
    directory.write(
        "a.lua",
        "local ok, err = pcall(http.serve, 0, {}, { instances = math.tointeger(arg[1]), on_listen = function(server) server:stop(0) end })\n\
         print(ok, err and err.code, err and err.message)",
    );
    let run = |count: &str| {
        let mut command = assay(directory.path(), &["run", "--allow", "listen", "a.lua", "--", count]);
        let done = command.output().expect("the executable can be started");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).expect("text")
    };
    for count in ["0", "65", "1000000"] {
        assert_eq!(
            run(count),
            "false\tinvalid_argument\thttp.serve: instances must be between 1 and 64\n",
            "{count}"
        );
    }
    for (count, lines) in [("1", 1), ("64", 64)] {
        let printed = run(count);
        assert!(printed.lines().all(|line| line == "true\tnil\tnil"), "{printed}");
        assert!((1..=lines).contains(&printed.lines().count()), "{count}: {printed}");
    }
}
