//! Asking for grants on the terminal.

use assay_capability_api::{Answer, grants::Asker};
use std::io::{BufRead, Write};

/// Asks on stderr and reads stdin; both are terminals.
pub(crate) struct Terminal;

impl Asker for Terminal {
    fn ask(&self, what: &str, rule: &str) -> Answer {
        let mut stderr = std::io::stderr().lock();
        loop {
            // What the script put into the request must not reach the terminal as control characters.
            let what: String = what.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            let question = format!(
                "The script asks for {what}.\n  [o] allow once   [a] always in this run ({rule})   [d] deny > "
            );
            if stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).is_err() {
                return Answer::Deny;
            }
            let mut line = String::new();
            match std::io::stdin().lock().read_line(&mut line) {
                Ok(0) | Err(_) => return Answer::Deny,
                Ok(_) => {}
            }
            match line.trim().to_ascii_lowercase().as_str() {
                "o" | "once" | "y" | "yes" => return Answer::Once,
                "a" | "always" => return Answer::Always,
                "d" | "deny" | "n" | "no" => return Answer::Deny,
                _ => {}
            }
        }
    }
}
