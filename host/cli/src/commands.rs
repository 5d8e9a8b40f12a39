//! The subcommands: one file each, with its arguments.

pub(crate) mod capabilities;
mod completion;
mod exec;
mod explain;
mod modules;
mod repl;
mod run;
mod test;
mod version;

use anyhow::Result;
use clap::Subcommand;
use std::ffi::OsString;

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a script
    Run(run::Run),
    /// Run a line of Lua, a file, or standard input (-)
    Exec(exec::Exec),
    /// Try Lua line by line
    Repl(repl::Repl),
    /// Run the *_test.lua files of a directory
    Test(test::Test),
    /// Say what a script needs to be granted, without running it
    Explain(explain::Explain),
    /// List what can be granted
    Capabilities(capabilities::Capabilities),
    /// List the modules that require finds
    Modules(modules::Modules),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Print the version
    Version(version::Version),
}

impl Command {
    /// Whether somebody is to be asked for grants.
    pub(crate) fn asks(&self) -> bool {
        match self {
            Command::Run(run::Run { options, .. })
            | Command::Exec(exec::Exec { options, .. })
            | Command::Repl(repl::Repl { options })
            | Command::Test(test::Test { options, .. }) => options.grants.prompt,
            _ => false,
        }
    }

    /// Gives the words behind the script, which the command line kept from clap.
    pub(crate) fn set_script_args(&mut self, args: Vec<OsString>) {
        if let Command::Run(run::Run { script, .. }) | Command::Exec(exec::Exec { script, .. }) = self {
            script.args = args;
        }
    }

    /// Does it, and gives the exit code.
    ///
    /// # Errors
    /// What is told on stderr; a [`crate::Usage`] for a mistake in the command line.
    pub(crate) fn execute(&self) -> Result<u8> {
        match self {
            Command::Run(args) => run::run(args),
            Command::Exec(args) => exec::exec(args),
            Command::Repl(args) => repl::repl(args),
            Command::Test(args) => test::test(args),
            Command::Explain(args) => explain::explain(args),
            Command::Capabilities(args) => capabilities::list(args),
            Command::Modules(args) => modules::list(args),
            Command::Completion(args) => completion::print(args),
            Command::Version(args) => version::print(args),
        }
    }
}
