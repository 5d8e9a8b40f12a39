//! `fs.glob` against bash: the same patterns on the same directory find the same paths.

use assay_tests::executable::{Directory, program, run_in};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

/// Every test of this file.
pub const TESTS: &[(&str, fn())] = &[
    ("patterns_match_what_they_match_in_bash", patterns_match_what_they_match_in_bash),
    ("patterns_of_braces_in_sets", patterns_of_braces_in_sets),
];

const FILES: &[&str] = &[
    "a.lua",
    "b.lua",
    "b.txt",
    "B.txt",
    ".hidden",
    ".lua",
    "d/c.lua",
    "d/e/f.lua",
    "d/.x",
    "d/e/.deep/g.lua",
    ".hid/in/h.lua",
    ".hid/k.lua",
    "x[1]",
    "{a}",
    "{b,c",
    "a,b",
    "[a",
    "a}",
    "st*r",
    "q?",
    "a-b",
    "]",
    "!x",
    "^x",
    "-x",
    "sub/1",
    "sub/2",
    "sub/10",
    "sub/01",
    "[br]/z",
    "ünï",
    "e1",
    "e2",
    "é1",
    "a b",
    "d.d/e.e/f.f",
    "1",
    "9",
    "_",
    "{",
    "}",
    ",",
    "*",
    "?",
    "[",
    "d/[x]",
    "z/z/z/z",
    "back\\slash",
];

/// Links, each with where it leads.
const LINKS: &[(&str, &str)] = &[("ld", "d"), ("dangling", "nowhere"), ("sub/l", "../d"), ("self", ".")];

const PATTERNS: &[&str] = &[
    // Wildcards in a name.
    "*",
    "?",
    "??",
    "*.lua",
    "?.lua",
    "*.*",
    "a*",
    "*a",
    "*a*",
    "a**",
    "**a",
    "***",
    "a.lua",
    "none",
    "no*ne",
    "*b.txt",
    "ü*",
    "???",
    "?1",
    "a?b",
    "z*",
    // Sets.
    "[ab].lua",
    "[!a].lua",
    "[^a].lua",
    "[a-b].lua",
    "[b-a].lua",
    "[]]",
    "[]a]*",
    "[!]]",
    "[!!]x",
    "[^^]x",
    "[!]x",
    "[-a]x",
    "[a-]x",
    "[--0]x",
    "[*]",
    "[?]",
    "[[]",
    "[]]*",
    "[*?]",
    "[*?[]",
    "st[*]r",
    "q[?]",
    "x[[]1[]]",
    "[[]*",
    "[a",
    "[",
    "[a*",
    "x[1]",
    "x\\[1\\]",
    "[[:digit:]]",
    "[[:alpha:]].lua",
    "[[:upper:]]*",
    "[[:lower:]].txt",
    "[![:alnum:]]",
    "[[:punct:]]",
    "[[:digit:]_]",
    "[[:space:]]",
    "*[[:space:]]*",
    "[[:xdigit:]].lua",
    "[[.-.]]x",
    "[[=a=]].lua",
    "[\\]]",
    "[\\[]",
    "[\\!]x",
    "[a\\-b].lua",
    "[a/b]",
    "d[/]c.lua",
    "[!/]",
    "[é-ü]*",
    "[éa]*",
    "[!a-z]",
    "[a-z0-9]",
    // Escapes.
    "\\*",
    "\\?",
    "\\[",
    "\\{",
    "st\\*r",
    "\\a.lua",
    "a\\ b",
    "back\\\\slash",
    "*\\\\*",
    "d\\/c.lua",
    // Braces.
    "{a,b}.lua",
    "{a,b,none}.*",
    "{a}",
    "{}",
    "{a",
    "{a,b",
    "*}",
    "{b,c",
    "{,a}.lua",
    "{a,}b",
    "{*.lua,*.txt}",
    "{d,sub}/*",
    "{d/{c,e/f},a}.lua",
    "{{a,b},c}.lua",
    "{{a}}",
    "{a}{,x}",
    "a\\,b",
    "{a\\,b,a.lua}",
    "\\{a\\}",
    "{\\{a\\},x}",
    "sub/{1..3}",
    "sub/{3..1}",
    "sub/{01..10}",
    "sub/{1..10..9}",
    "{a..c}.lua",
    "{c..a}.lua",
    "{a..c..2}.lua",
    "{1..a}",
    "{1..}",
    "{..}",
    "{{1,2}..3}",
    "e{1,2}",
    "{é,e}1",
    "{a,b}{.lua,.txt}",
    "[{]",
    "[}]",
    "[,]",
    "{[,x}",
    "*{a}",
    "a{b",
    "{,}",
    // Directories.
    "*/",
    "*/*",
    "*/*/",
    "d/*",
    "d/e/",
    "d/",
    "a.lua/",
    "d/*.lua",
    "*/c.lua",
    "ld/*",
    "ld/*/",
    "self/*.lua",
    "d/..",
    "d/*/..",
    "./*.lua",
    "../*/none",
    "./d/*",
    "sub/**/c.lua",
    "sub/**/*",
    "*/**/c.lua",
    "self/**/f.lua",
    "{sub,d}/**/*.lua",
    "dangling",
    "dang*",
    "dang*/",
    "*/dangling",
    "dangling/*",
    "a.lua/*",
    "none/*",
    "d.d/*.*",
    "{d,none}/",
    "[br]/*",
    "\\[br\\]/*",
    "[[]br]/*",
    "d/[[]x]",
    // Any number of directories.
    "**",
    "**/",
    "**/*",
    "**/*/",
    "**/**",
    "**/**/",
    "d/**",
    "d/**/",
    "ld/**",
    "ld/**/",
    "none/**",
    "a.lua/**",
    "*/**",
    "*/**/",
    "**/*.lua",
    "**/f.lua",
    "**/e/*",
    "**/e/**",
    "d/**/e/**",
    "d/**/f.lua",
    "**/**/f.lua",
    "**/l",
    "**/l/",
    "**/l/*",
    "**/ld/*",
    "**/d",
    "d**/*.lua",
    "**a.lua",
    "a**/x",
    "**/z",
    "z/**/z",
    "z/**/z/**",
    "**/[[:digit:]]",
    "**/{c,f}.lua",
    "{d,sub}/**",
    "**/*.{lua,txt}",
    "**/sub/**/1",
    "./**/*.lua",
    "**/d.d/**",
    // Names that begin with a dot.
    ".*",
    ".h*",
    ".**",
    "[.]hidden",
    "[.]*",
    "[!a]hidden",
    "?hidden",
    "*hidden",
    "\\.hidden",
    ".hidden",
    "{.hidden,.lua}",
    "{.,}hidden",
    ".{hidden,lua}",
    "*.lua",
    "?lua",
    ".l[u]a",
    ".hid/*",
    ".hid/**",
    ".h*/*",
    ".h*/**",
    "**/.*",
    "**/.x",
    "*/.x",
    "d/.*",
    "**/.deep/*",
    "d/**/.deep",
    "d/e/.deep/**",
    "**/k.lua",
    ".*/k.lua",
    "**/*.lua/",
    "*/.deep",
    "d/*/.*",
    "d/e/.*/*",
];

fn tree() -> Directory {
    let directory = Directory::new();
    for file in FILES {
        directory.write(file, "");
    }
    for (link, target) in LINKS {
        symlink(target, directory.path().join(link)).expect("it can be made");
    }
    directory
}

/// What bash finds, with the options; what it leaves as it is where nothing matches is left out.
fn bash(directory: &Directory, options: &[&str]) -> Vec<String> {
    let mut command = program("bash");
    for option in [&["globstar", "nullglob", "globskipdots"], options].concat() {
        command.args(["-O", option]);
    }
    let mut script = String::from(
        "show() { for p; do [[ -e $p || -L $p ]] && printf '%s\\0' \"$p\"; done; printf '\\1'; }\n",
    );
    for pattern in PATTERNS {
        // A blank is part of the pattern.
        script.push_str(&format!("show {}\n", pattern.replace(' ', "' '").replace("\\' '", "\\ ")));
    }
    let done =
        command.args(["-c", &script]).current_dir(directory.path()).output().expect("bash can be started");
    assert!(done.status.success() || done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    let found: Vec<String> =
        String::from_utf8(done.stdout).expect("UTF-8").split('\u{1}').map(str::to_owned).collect();
    assert_eq!(found.len(), PATTERNS.len() + 1, "{}", String::from_utf8_lossy(&done.stderr));
    found
}

/// A script that prints what it finds in the same form.
fn assay(directory: &Directory, hidden: bool) -> Vec<String> {
    let patterns: Vec<String> = PATTERNS.iter().map(|pattern| format!("[==[{pattern}]==]")).collect();
    let script = format!(
        "for _, p in ipairs({{ {} }}) do for _, f in ipairs(fs.glob(p, {{ hidden = {hidden} }})) do io.write(f, '\\0') end \
         io.write('\\1') end",
        patterns.join(", ")
    );
    let done = run_in(directory, &["exec", "--allow", "fs=read:..", "-e", &script]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.split('\u{1}').map(str::to_owned).collect()
}

fn patterns_match_what_they_match_in_bash() {
    let directory = tree();
    for (hidden, options) in [(false, &[][..]), (true, &["dotglob"])] {
        let (expected, found) = (bash(&directory, options), assay(&directory, hidden));
        assert_eq!(found.len(), expected.len(), "hidden: {hidden}");
        let mut wrong = Vec::new();
        for ((pattern, expected), found) in PATTERNS.iter().zip(&expected).zip(&found) {
            let list = |text: &str| -> BTreeSet<String> {
                text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
            };
            let (expected, found) = (list(expected), list(found));
            if expected != found {
                let more: Vec<_> = found.difference(&expected).collect();
                let less: Vec<_> = expected.difference(&found).collect();
                wrong.push(format!("{pattern}: too many {more:?}, missing {less:?}"));
            }
        }
        assert!(wrong.is_empty(), "hidden: {hidden}\n{}", wrong.join("\n"));
    }
}

/// Where bash expands braces before it looks at sets, what stands in a set means itself here.
fn patterns_of_braces_in_sets() {
    let directory = tree();
    let script = r#"
        local function glob(pattern) return table.concat(fs.glob(pattern), " ") end
        assert.eq(glob("[{,}]"), ", { }")
        assert.eq(glob("[{]b,c"), "{b,c")
        assert.eq(glob("a[,]b"), "a,b")
        assert.eq(glob("{[,],x[[]1]}"), ", x[1]")
        assert.eq(glob("[*?{},]"), "* , ? { }")
        assert.eq(glob("a[,}]*"), "a,b a}")
    "#;
    let done = run_in(&directory, &["exec", "--allow", "fs=read:.", "-e", script]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}
