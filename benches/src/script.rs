//! Scripts that time themselves, so that the start of their process does not count.

use crate::Result;
use crate::process::Program;

const HARNESS: &str = include_str!("../lua/harness.lua");

/// A script of `benches/lua`: a chunk that returns the function to measure.
pub struct Script<'a> {
    pub source: &'a str,
    /// Lua that is run before it.
    pub before: String,
    /// The Lua function that tells the time.
    pub clock: &'static str,
    /// How often the function is run in one process.
    pub rounds: u32,
    /// Whether it runs in a coroutine of its own.
    pub in_coroutine: bool,
}

impl<'a> Script<'a> {
    /// A script that computes, on the clock of CPU time: what else the machine does counts less.
    pub fn computing(source: &'a str) -> Script<'a> {
        Script { source, before: String::new(), clock: "os.clock", rounds: 3, in_coroutine: false }
    }

    /// A script that waits, on the clock at the wall.
    pub fn waiting(source: &'a str) -> Script<'a> {
        Script { clock: "time", ..Script::computing(source) }
    }

    fn code(&self) -> String {
        let Script { source, before, clock, rounds, .. } = self;
        let wrapped = if self.in_coroutine {
            "local inner = work\nwork = function() return coroutine.wrap(inner)() end\n"
        } else {
            ""
        };
        format!(
            "{before}\nlocal ROUNDS, clock = {rounds}, {clock}\n\
             local work = (function()\n{source}\nend)()\n{wrapped}{HARNESS}"
        )
    }

    /// Seconds of the fastest round, and what it returned.
    fn run(&self, program: &Program) -> Result<(f64, String)> {
        let output = program.output(&self.code())?;
        let parsed = output
            .trim_end()
            .split_once(' ')
            .and_then(|(seconds, result)| Some((seconds.parse().ok()?, result.to_string())));
        parsed.ok_or_else(|| format!("{} printed no time but: {output}", program.name))
    }

    /// Seconds of the fastest round of each of two programs, which take turns in `processes` processes each and must
    /// come to the same result.
    pub fn compare(&self, ours: &Program, theirs: &Program, processes: u32) -> Result<(f64, f64)> {
        let mut best = (f64::INFINITY, f64::INFINITY);
        for _ in 0..processes {
            let (mine, my_result) = self.run(ours)?;
            let (other, other_result) = self.run(theirs)?;
            if my_result != other_result {
                return Err(format!("{} says {my_result}, {} says {other_result}", ours.name, theirs.name));
            }
            best = (best.0.min(mine), best.1.min(other));
        }
        Ok(best)
    }
}
