//! What is known of builtins that no capability owns: those of Lua itself, and those that only compute. For `assay explain`.

use assay_capability_api::{Literal, Need};
use assay_capability_fs::needs;

/// What they need of capabilities.
pub const NEEDS: &[Need] = &[
    needs::read("dofile"),
    needs::read("loadfile"),
    needs::open("io.open"),
    needs::read("io.lines"),
    needs::read("io.input"),
    needs::write("io.output"),
    Need::new("io.popen", Literal::Whole).of("shell"),
    needs::write("os.remove"),
    needs::write("os.rename"),
    needs::write("os.rename").at(1),
    Need::new("os.execute", Literal::Whole).of("shell"),
    Need::new("os.getenv", Literal::NAME).of("env"),
    needs::read("template.render"),
    needs::read("template.render_with_loader"),
];

/// What a builtin does with what it is given, or with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It calls its first argument with those from this one on.
    Calls(usize),
    /// It gives back the function that it was given, to be called.
    Wraps,
    /// It does nothing with its arguments but look at them.
    Looks,
    /// It has a result that is followed.
    Gives,
    /// It leads to other builtins by names that only a run has, or runs a text that only a run has, for this reason.
    Reaches(&'static str),
}

/// Those that do something with builtins. Where another one is given a builtin, it may call it with anything.
pub const DOING: &[(&str, Does)] = &[
    ("pcall", Does::Calls(1)),
    ("xpcall", Does::Calls(2)),
    ("async.spawn", Does::Calls(1)),
    ("coroutine.resume", Does::Calls(1)),
    ("coroutine.create", Does::Wraps),
    ("coroutine.wrap", Does::Wraps),
    ("type", Does::Looks),
    ("tostring", Does::Looks),
    ("rawequal", Does::Looks),
    ("rawget", Does::Gives),
    ("string.format", Does::Gives),
    ("_G", Does::Reaches("it holds every builtin")),
    ("load", Does::Reaches("it runs text that only a run has")),
    ("loadstring", Does::Reaches("it runs text that only a run has")),
    ("loadfile", Does::Reaches("it runs a file that is not gone through")),
    ("dofile", Does::Reaches("it runs a file that is not gone through")),
    ("require", Does::Reaches("it gives modules by names that only a run has")),
    ("package.loaded", Does::Reaches("it holds every library")),
    ("package.preload", Does::Reaches("modules may come from elsewhere then")),
    ("package.searchers", Does::Reaches("modules may come from elsewhere then")),
    ("debug.getregistry", Does::Reaches("it holds every library")),
    ("debug.getupvalue", Does::Reaches("it reaches variables of other functions")),
    ("debug.setupvalue", Does::Reaches("it changes variables of other functions")),
    ("debug.upvaluejoin", Does::Reaches("it changes variables of other functions")),
    ("debug.getlocal", Does::Reaches("it reaches variables of other functions")),
    ("debug.setlocal", Does::Reaches("it changes variables of other functions")),
];

/// The others, which need nothing and lead to nothing: a library's are `json.*`.
pub const FREE: &[&str] = &[
    "arg",
    "assert.*",
    "async.*",
    "base64.*",
    "collectgarbage",
    "coroutine.*",
    "debug.*",
    "error",
    "getmetatable",
    "io.*",
    "ipairs",
    "json.*",
    "markdown.*",
    "math.*",
    "next",
    "os.*",
    "package.*",
    "pairs",
    "print",
    "rawlen",
    "rawset",
    "regex.*",
    "select",
    "setmetatable",
    "string.*",
    "table.*",
    "template.*",
    "toml.*",
    "tonumber",
    "utf8.*",
    "warn",
    "yaml.*",
    "_VERSION",
];
