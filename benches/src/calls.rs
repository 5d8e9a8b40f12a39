//! What it costs to leave the sandbox and come back.

use crate::process::Program;
use crate::report::{Table, ratio, seconds};
use crate::script::Script;
use crate::{Effort, Result};

const READY: &str = include_str!("../lua/call_ready.lua");
const SYNC: &str = include_str!("../lua/call_sync.lua");
const PENDING: &str = include_str!("../lua/call_pending.lua");

/// A grant that no address matches: the capability is linked and looks at each request itself.
pub const OPTIONS: &[&str] = &["--allow", "http=bench.invalid"];

/// What is called, the script, and how often it calls.
pub const ALL: &[(&str, &str, u32)] = &[
    ("sync: time()", SYNC, 200_000),
    ("async, ready at once: pcall(http.get) of a URL that is refused", READY, 20_000),
    ("async, waits: sleep(0), in 10,000 tasks at once", PENDING, 50_000),
];

pub fn measure(effort: Effort) -> Result<Table> {
    let (ours, theirs) = (Program::assay_limited(OPTIONS)?, Program::native()?);
    let mut rows = Vec::new();
    for (name, source, calls) in ALL {
        let (mine, other) = Script::waiting(source).compare(&ours, &theirs, effort.of(7, 2))?;
        let (mine, other) = (mine / f64::from(*calls), other / f64::from(*calls));
        rows.push(vec![(*name).into(), seconds(mine), seconds(other), ratio(mine, other)]);
    }
    let notes = vec![
        "Wall time of one call, of the fastest run, the programs taking turns. Native calls a Rust function or polls a Rust future; \
         Assay crosses the boundary of the component as well. The second row includes raising and catching an error, so its ratio is not that of the call alone; tasks of the third are \
         made within the measured time, and there are so many of them because a timer's tick is 1 ms."
            .into(),
    ];
    Ok(Table { title: "Calls of builtins", head: &["what", "assay", "native mlua", "ratio"], rows, notes })
}
