//! Running a program in a machine, by `systemd-run`: it gives the program's exit status, and no terminal of the
//! host reaches into the machine.

use crate::bus::{Bus, Method};
use crate::name;
use crate::scope::check_machine;
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Run, error, off_thread, random};
use assay_capability_process::{Command, Executable, Finished, Processes};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// What the machine's systemd waits longer than we do before it ends the program itself.
const GRACE: Duration = Duration::from_secs(5);

/// A program to run in a machine.
pub struct Task {
    pub machine: String,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub input: Vec<u8>,
    pub timeout: Option<Duration>,
}

fn invalid(message: String) -> Error {
    error(ErrorCode::InvalidArgument, format!("systemd.machine_exec: {message}"))
}

impl Task {
    fn check(&self) -> Result<(), Error> {
        name::machine(&self.machine)?;
        match self.arguments.first() {
            None => return Err(invalid("there is no command".into())),
            Some(program) if program.is_empty() => return Err(invalid("the command is empty".into())),
            Some(_) => {}
        }
        for (name, _) in &self.environment {
            let mut characters = name.chars();
            let starts = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !starts || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(invalid(format!("{name:?} is not the name of a variable")));
            }
        }
        Ok(())
    }

    /// The arguments of systemd-run. The program's own come behind `--`.
    fn words(&self, unit: &str) -> Vec<String> {
        let mut words: Vec<String> = vec![
            format!("--machine={}", self.machine),
            format!("--unit={unit}"),
            format!("--description=assay: {}", self.arguments.first().map_or("", String::as_str)),
        ];
        words.extend(["--quiet", "--wait", "--pipe", "--collect"].map(String::from));
        if let Some(timeout) = self.timeout {
            // Should nobody be left to stop it.
            let seconds = (timeout + GRACE).as_secs_f64().ceil();
            words.push(format!("--property=RuntimeMaxSec={seconds}"));
        }
        words.extend(self.environment.iter().map(|(name, value)| format!("--setenv={name}={value}")));
        words.push("--".into());
        // The manager would put variables of its own into `${NAME}` (systemd.service(5), "Command lines").
        words.extend(self.arguments.iter().map(|word| word.replace('$', "$$")));
        words
    }
}

/// A name that no other unit has.
fn unit_name() -> String {
    format!("assay-{}{}.service", random::name(), random::name())
}

/// Stops the unit in the machine when the call ends before the program: killing systemd-run leaves it running.
struct StopOnDrop {
    systemctl: Arc<Executable>,
    machine: String,
    unit: String,
    over: bool,
}

impl StopOnDrop {
    fn command(&self) -> std::process::Command {
        // By its path, not what was opened: it may be a script, whose interpreter opens it again.
        let mut command = std::process::Command::new(&self.systemctl.path);
        command
            .arg(format!("--machine={}", self.machine))
            .args(["--quiet", "--no-ask-password", "stop", "--"])
            .arg(&self.unit)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Not a child of the run: it must outlive a run that just ends. systemctl gives up by itself.
        let mut command = self.command();
        let stop = move || {
            if let Err(failed) = command.status() {
                tracing::warn!(%failed, "a program in a machine could not be stopped");
            }
        };
        if let Err(failed) = std::thread::Builder::new().name("machine-stop".into()).spawn(stop) {
            tracing::warn!(%failed, "a program in a machine could not be stopped");
        }
    }
}

/// Runs a program in a machine to its end.
///
/// # Errors
/// `denied`, `invalid-argument`, `not-found` for a machine that does not run, and what
/// [`Command::run`] gives.
pub async fn exec(bus: &Bus, run: &Arc<Run>, processes: &Processes, task: Task) -> Result<Finished, Error> {
    task.check()?;
    check_machine(run, "exec", &task.machine)?;
    let what = format!("cannot run a program in machine {}", task.machine);
    // systemd-run would end with 1 for a machine that is not there, as the program may too.
    bus.call(run, &what, Method::machines("GetMachine"), &task.machine.as_str()).await?;
    let ambient = run.ambient.clone();
    let found = off_thread(move || {
        let systemctl = assay_capability_process::find("systemctl", Path::new("/"), &ambient)?.file;
        Ok((Command::new("systemd-run", &ambient)?, systemctl))
    });
    let (command, systemctl) = found.await.map_err(|mut failed| {
        failed.message = format!("{what}: {}", failed.message);
        failed
    })?;
    let unit = unit_name();
    let words = task.words(&unit);
    let mut stop = StopOnDrop { systemctl, machine: task.machine, unit, over: false };
    let finished = command.args(words).stdin(task.input).timeout(task.timeout).run(processes).await?;
    stop.over = !finished.timed_out;
    Ok(finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(arguments: &[&str], environment: &[(&str, &str)]) -> Task {
        Task {
            machine: "web".into(),
            arguments: arguments.iter().map(|word| (*word).to_string()).collect(),
            environment: environment.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect(),
            input: Vec::new(),
            timeout: Some(Duration::from_millis(1500)),
        }
    }

    #[test]
    fn no_word_of_the_script_is_an_option() {
        let task = task(&["--user", "--now", "${HOME} $X"], &[("A", "--machine=.host")]);
        assert!(task.check().is_ok());
        assert_eq!(
            task.words("u"),
            [
                "--machine=web",
                "--unit=u",
                "--description=assay: --user",
                "--quiet",
                "--wait",
                "--pipe",
                "--collect",
                "--property=RuntimeMaxSec=7",
                "--setenv=A=--machine=.host",
                "--",
                "--user",
                "--now",
                "$${HOME} $$X"
            ]
        );
    }

    #[test]
    fn what_is_no_task() {
        assert!(task(&[], &[]).check().is_err());
        assert!(task(&[""], &[]).check().is_err());
        for name in ["", "A=B", "1A", "A-B", "A B", "A\0"] {
            assert!(task(&["true"], &[(name, "x")]).check().is_err(), "{name}");
        }
        let mut host = task(&["true"], &[]);
        host.machine = ".host".into();
        assert!(host.check().is_err());
        assert_ne!(unit_name(), unit_name());
    }
}
