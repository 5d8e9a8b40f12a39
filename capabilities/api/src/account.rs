//! Accounts: the sum of what several runs use, those of a tenant or of a process.

use crate::types::{Error, ErrorCode};
use crate::{Budget, Counter, Cpu, Limits, Usage, error};
use std::sync::Arc;

/// What the runs of a tenant, or of a process, use together, and their limits. Each run counts in its account and in
/// those above. Of the limits, `timeout`, `temp_bytes`, `temp_entries` and `audit` are for runs only.
#[derive(Debug)]
pub struct Account {
    /// Whose it is, for messages: "tenant acme".
    pub name: String,
    pub limits: Limits,
    pub usage: Usage,
    /// CPU time of all runs.
    pub cpu: Arc<Cpu>,
    /// What the host holds for all runs.
    pub budget: Arc<Budget>,
    parent: Option<Arc<Account>>,
}

impl Account {
    /// One that belongs to `parent`, or to no other.
    pub fn new(name: impl Into<String>, limits: Limits, parent: Option<Arc<Account>>) -> Arc<Account> {
        let budget = Budget::within(parent.as_ref().map(|parent| &parent.budget), limits.host_memory());
        let cpu = Cpu::within(parent.as_ref().map(|parent| &parent.cpu));
        Arc::new(Account { name: name.into(), limits, usage: Usage::default(), cpu, budget, parent })
    }

    /// It, and those above.
    pub fn chain(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Account>> {
        std::iter::successors(Some(self), |account| account.parent.as_ref())
    }

    /// The error of a call that would go over one of its limits.
    pub(crate) fn limit_error(&self, what: Counter) -> Error {
        let (limit, allowed) = (what.limit().name(), self.limits.of(what).unwrap_or(u64::MAX));
        error(ErrorCode::Limit, format!("the {limit} limit of {} is reached ({allowed})", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Run, RunState};

    fn run(account: &Arc<Account>) -> Arc<Run> {
        Arc::new(RunState::new(Policy::default(), "/".into()).within(account.clone()).into())
    }

    #[test]
    fn runs_of_a_tenant_share_its_limits() {
        let process = Account::new("this process", Limits { handles: 5, ..Limits::unlimited() }, None);
        let limits = Limits { handles: 3, host_bytes: Some(100), ..Limits::unlimited() };
        let tenant = |name: &str| Account::new(name, limits.clone(), Some(process.clone()));
        let (acme, other) = (tenant("tenant acme"), tenant("tenant other"));
        let (a, b, c) = (run(&acme), run(&acme), run(&other));
        let mut held: Vec<_> = [&a, &a, &b].map(|run| run.take_handle().unwrap()).into();
        let refused = b.take_handle().map(drop).unwrap_err();
        assert_eq!(refused.message, "the max-handles limit of tenant acme is reached (3)");
        held.extend([&c, &c].map(|run| run.take_handle().unwrap()));
        let refused = c.take_handle().map(drop).unwrap_err();
        assert_eq!(refused.message, "the max-handles limit of this process is reached (5)");
        // What was refused is not counted anywhere.
        assert_eq!((acme.usage.now(Counter::Handles), process.usage.now(Counter::Handles)), (3, 5));
        drop(held);
        assert_eq!((a.usage.now(Counter::Handles), process.usage.now(Counter::Handles)), (0, 0));
        assert_eq!(process.usage.peak(Counter::Handles), 5);

        a.count_bytes(60).unwrap();
        assert!(b.count_bytes(41).is_err() && c.count_bytes(100).is_ok());
    }

    #[test]
    fn what_the_host_holds_is_taken_from_each_account() {
        let limits = |bytes| Limits { host_memory: Some(bytes), ..Limits::unlimited() };
        let process = Account::new("this process", limits(150), None);
        let tenants = ["a", "b"].map(|name| Account::new(name, limits(100), Some(process.clone())));
        let runs = tenants.each_ref().map(run);
        let first = runs[0].budget.take(90).unwrap();
        assert!(runs[0].budget.take(11).is_err(), "more than the tenant has");
        assert!(runs[1].budget.take(61).is_err(), "more than the process has");
        let second = runs[1].budget.take(60).unwrap();
        assert_eq!((process.budget.used(), tenants[1].budget.used()), (150, 60));
        drop((first, second));
        assert_eq!((process.budget.used(), process.budget.peak()), (0, 150));
    }

    #[test]
    fn cpu_time_is_that_of_all_runs() {
        let process = Account::new("this process", Limits::unlimited(), None);
        for _ in 0..2 {
            let _guard = run(&process).cpu.enter();
            let mut x = 1u64;
            while process.cpu.threads() == 1 && !x.is_multiple_of(1_000_003) {
                x = std::hint::black_box(x + 1);
            }
        }
        assert!(process.cpu.nanoseconds() > 0 && process.cpu.threads() == 0);
    }
}
