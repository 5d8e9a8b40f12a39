//! Files that the host writes and reads by itself, with scripts that would choose which.

use assay_tests::executable::{Directory, Finished, assay, run_in};
use std::os::unix::fs::symlink;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("reports_do_not_follow_the_links_of_a_script", reports_do_not_follow_the_links_of_a_script),
    ("a_script_does_not_change_what_is_written_about_it", a_script_does_not_change_what_is_written_about_it),
    ("output_files_that_cannot_be_written_are_errors", output_files_that_cannot_be_written_are_errors),
    ("messages_do_not_tell_where_a_script_runs", messages_do_not_tell_where_a_script_runs),
    ("the_temporary_directory_is_reported", the_temporary_directory_is_reported),
    ("racing_scripts_read_no_module_from_outside", racing_scripts_read_no_module_from_outside),
    ("the_specification_is_asked_for_in_the_environment", the_specification_is_asked_for_in_the_environment),
];

fn text(directory: &Directory, name: &str) -> String {
    std::fs::read_to_string(directory.path().join(name)).unwrap_or_default()
}

fn reports_do_not_follow_the_links_of_a_script() {
    for flag in ["--report-file", "--learn", "--audit"] {
        let directory = Directory::new();
        directory.write("out/.keep", "");
        directory.write("target", "# safe");
        symlink("../target", directory.path().join("out/link")).expect("it can be made");
        symlink("..", directory.path().join("out/up")).expect("it can be made");
        // Through `fs` it cannot be done; a program that is granted does it.
        let own = |path: &str| {
            let grants = "fs=rw:out,process=rm,process=ln";
            let mut args = vec!["exec", "--report", "json", "--allow", grants, flag, path];
            args.extend(["-e", "pcall(fs.read, '/etc/x') fs.write('out/g', 'g') \
                process.run{cmd = 'rm', args = {'-f', 'out/f'}} process.run{cmd = 'ln', args = {'-s', 'g', 'out/f'}}"]);
            run_in(&directory, &args)
        };
        // A link that was there before is refused, and the script does not run.
        for path in ["out/link", "out/up/target", "out/up/new"] {
            let done = own(path);
            assert_eq!(done.code, Some(64), "{flag} {path}: {}", done.stderr);
            assert!(done.stderr.contains("a link is on its way"), "{flag} {path}: {}", done.stderr);
        }
        // One that comes later changes nothing.
        let done = own("out/f");
        assert_eq!(done.code, Some(0), "{flag}: {}", done.stderr);
        assert_eq!(std::fs::read_link(directory.path().join("out/f")).expect("a link").to_str(), Some("g"));
        assert_eq!(text(&directory, "out/g"), "g", "{flag}");
        assert_eq!(text(&directory, "target"), "# safe", "{flag}");
        assert!(!directory.path().join("new").exists(), "{flag}");
        // Where the script cannot write, links are the operator's.
        symlink("target", directory.path().join("own")).expect("it can be made");
        let done = own("own");
        assert_eq!(done.code, Some(0), "{flag}: {}", done.stderr);
        assert!(text(&directory, "target").len() > 6, "{flag}");
    }
}

/// What a script tries with the file `out/f`, of which `out/link` leads to it and `out/other` is another name.
const CHANGES: &str = r#"
    fs.write("out/mine", "x") fs.write("out/x.tar", "")
    tar.create("out/f.tar", { f = { file = "out/mine" } })
    local tried = 0
    local function denied(name, call, ...)
      tried = tried + 1
      local ok, err = pcall(call, ...)
      assert(not ok, name .. " went through")
      assert(err.code == "denied" and err.message:find("the host", 1, true), name .. ": " .. err.message)
    end
    for _, path in ipairs({ "out/f", "out/./f", "out/deep/../f", "out/link", "out/other" }) do
      denied("write " .. path, fs.write, path, "x")
      denied("append " .. path, fs.append, path, "x")
      denied("copy " .. path, fs.copy, "out/mine", path)
      denied("chmod " .. path, fs.chmod, path, 0)
      denied("truncate " .. path, function() assert(io.open(path, "w")) end)
      denied("update " .. path, function() assert(io.open(path, "r+")) end)
      denied("gzip " .. path, compress.pack_file, "out/mine", path, {format = "gz"})
      denied("sqlite " .. path, function() db.execute(db.connect("sqlite:" .. path), "create table t(x)") end)
    end
    for _, path in ipairs({ "out/f", "out/./f", "out/other" }) do
      denied("remove " .. path, fs.remove, path)
      denied("move " .. path, fs.rename, path, "out/h")
      denied("replace " .. path, fs.rename, "out/mine", path)
    end
    denied("unpack", tar.extract, "out/f.tar", "out")
    denied("remove all", fs.remove, "out/deep", { recursive = true })
    denied("move all", fs.rename, "out/deep", "out/away")
    assert(disk.sweep("out", 0) >= 0)
    assert(fs.exists("out/f") and fs.exists("out/deep/k"))
    -- What is beside it is the script's.
    fs.write("out/deep/free", "x") fs.rename("out/deep/free", "out/free") fs.remove("out/free")
    assert(fs.read("out/f")) print(tried)
"#;

fn a_script_does_not_change_what_is_written_about_it() {
    for flag in ["--report-file", "--learn", "--audit", "--manifest"] {
        let directory = Directory::new();
        directory.write("out/f", "");
        directory.write("out/deep/k", "");
        symlink("f", directory.path().join("out/link")).expect("it can be made");
        let grants = "fs=rw:out,db,disk";
        // A further name of the file comes after the host has opened it, by a program.
        let code = format!("process.run{{cmd = 'ln', args = {{'out/f', 'out/other'}}}}\n{CHANGES}");
        let args = ["exec", "--report", "json", "--allow", grants, "--allow", "process=ln", flag, "out/f"];
        let second = match flag {
            "--audit" => ["--report-file", "out/deep/k"],
            _ => ["--audit", "out/deep/k"],
        };
        let done = run_in(&directory, &[&args[..], &second, &["-e", &code]].concat());
        assert_eq!((done.code, done.stdout.as_str()), (Some(0), "52\n"), "{flag}: {}", done.stderr);
        assert!(text(&directory, "out/deep/k").contains("\"deny\"") || flag == "--audit", "{flag}");
        assert!(!text(&directory, "out/f").is_empty() || flag == "--manifest", "{flag}");
    }
    // A device is nobody's.
    let done = run_in(
        &Directory::new(),
        &["exec", "--audit", "/dev/null", "--allow", "fs=rw:/dev/null", "-e", "fs.append('/dev/null', 'x')"],
    );
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

fn output_files_that_cannot_be_written_are_errors() {
    let directory = Directory::new();
    for args in [["--report-file", "/dev/full"], ["--learn", "/dev/full"]] {
        let done = run_in(&directory, &["exec", "--report", "json", args[0], args[1], "-e", "print(1)"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), "1\n"), "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("cannot write /dev/full"), "{args:?}: {}", done.stderr);
    }
    for flag in ["--report-file", "--learn", "--audit"] {
        let done = run_in(&directory, &["exec", "--report", "json", flag, "none/x", "-e", "print(1)"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{flag}: {}", done.stderr);
        assert!(done.stderr.contains("cannot write none/x: No such file"), "{flag}: {}", done.stderr);
    }
    directory.write("a_test.lua", "print('ran')");
    let done = run_in(&directory, &["test", "--junit", "none/x"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(64), ""), "{}", done.stderr);
}

fn messages_do_not_tell_where_a_script_runs() {
    let directory = Directory::new();
    let name = directory.path().file_name().expect("it has a name").to_string_lossy().into_owned();
    directory.write("home/.assay/modules/g.lua", "error('from g')");
    directory.write("home/.assay/modules/s.lua", "local x = = 1");
    directory.write("modules/m.lua", "error('from m')");
    directory.write(
        "a.lua",
        r#"
        for _, name in ipairs({ "none", "g", "s", "m" }) do print(select(2, pcall(require, name))) end
        print(select(2, pcall(fs.read, "x")).message, select(2, pcall(fs.write, "../x", "")).message)
        print(select(2, pcall(http.download, "http://127.0.0.1:9/", "x")).message)
        print(select(2, pcall(tar.extract, "x", "y")).message, select(2, pcall(io.open, "x")).message)
        print(debug.traceback())
        require("g")
        "#,
    );
    let run = |variables: &[(&str, String)], args: &[&str]| -> Finished {
        let mut command = assay(directory.path(), args);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.output().expect("it can be started").into()
    };
    let home = directory.path().join("home");
    for variables in [
        [("HOME", home.display().to_string()), ("ASSAY_MODULES_PATH", String::new())],
        [
            ("HOME", "/nonexistent".into()),
            ("ASSAY_MODULES_PATH", home.join(".assay/modules").display().to_string()),
        ],
    ] {
        for args in [["run", "a.lua"], ["exec", "a.lua"]] {
            let done = run(&variables, &args);
            assert_eq!(done.code, Some(1), "{}", done.stderr);
            assert!(done.stdout.contains("from m") && done.stderr.contains("from g"), "{}", done.stderr);
            for said in [&done.stdout, &done.stderr] {
                assert!(!said.contains(&name), "{args:?}: {said}");
            }
        }
    }
    // The operator is told.
    let done = run(&[("HOME", home.display().to_string())], &["modules", "--json"]);
    assert!(done.stdout.contains(&name), "{}", done.stdout);
}

fn the_temporary_directory_is_reported() {
    let directory = Directory::new();
    directory.write("m.toml", "[limits]\ntemp-bytes = \"1MiB\"\ntemp-entries = 7\n");
    let code = "local d = fs.tempdir() fs.write(d .. '/a', 'x') print(pcall(fs.write, d .. '/b', ('x'):rep(1 << 20)))";
    let done = run_in(
        &directory,
        &["exec", "--manifest", "m.toml", "--report", "json", "--report-file", "r", "-e", code],
    );
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.starts_with("false") && done.stdout.contains("--temp-bytes"), "{}", done.stdout);
    let report = text(&directory, "r");
    for field in
        ["\"temp_bytes\":1048576", "\"temp_entries\":7", "\"temp_bytes_peak\":1,", "\"temp_entries_peak\":3,"]
    {
        assert!(report.contains(field), "{field}: {report}");
    }
}

fn racing_scripts_read_no_module_from_outside() {
    let directory = Directory::new();
    directory.write("secret.lua", "return 'secret'");
    directory.write("work/modules/x.lua", "return 'x'");
    symlink("../../secret.lua", directory.path().join("work/modules/l.lua")).expect("it can be made");
    directory.write(
        "work/a.lua",
        r#"
        local stop = false
        local swapper = async.spawn(function()
          for _ = 1, 500 do
            pcall(fs.rename, "modules/x.lua", "modules/y.lua")
            pcall(fs.rename, "modules/l.lua", "modules/x.lua")
            pcall(fs.rename, "modules/x.lua", "modules/l.lua")
            pcall(fs.rename, "modules/y.lua", "modules/x.lua")
          end
          stop = true
        end)
        while not stop do
          package.loaded.x = nil
          local ok, what = pcall(require, "x")
          assert.eq(ok and what == "secret", false)
          sleep(0)
        end
        swapper:await()
        "#,
    );
    let done = run_in(&directory, &["run", "--allow", "fs=rw:work", "work/a.lua"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

fn the_specification_is_asked_for_in_the_environment() {
    for (value, code) in [("1", 0), ("0", 1), ("", 1)] {
        let directory = Directory::new();
        directory.write("d/x", "");
        let mut command = assay(directory.path(), &["exec", "--allow", "fs=rw:.", "-e", "fs.remove('d')"]);
        let done: Finished = command.env("ASSAY_COMPAT", value).output().expect("it can be started").into();
        assert_eq!(done.code, Some(code), "{value}: {}", done.stderr);
    }
    // A script does not get it by itself.
    let directory = Directory::new();
    directory.write("d/x", "");
    let code = "env.set('ASSAY_COMPAT', '1') fs.remove('d')";
    let done = run_in(&directory, &["exec", "--allow", "fs=rw:.", "--env", "ASSAY_COMPAT=1", "-e", code]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
}
