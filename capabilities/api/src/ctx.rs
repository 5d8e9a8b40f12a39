//! The data of a store: one run of one script.

use crate::audit::Unwritten;
use crate::policy::Verdict;
use crate::replay::Sources;
use crate::secrets::hide;
use crate::types::{Error, ErrorCode};
use crate::{
    Account, Ambient, Audit, Budget, Clock, Counter, Cpu, Decision, Ending, Entropy, Event, Grants, Held,
    Learned, Limit, Limits, RealClock, RealEntropy, Replay, Request, Services, Signals, Usage, denied,
    denied_by, denied_without_scope, error, io_error,
};
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use wasmtime::component::ResourceTable;

/// Bytes that a call which waits for another thread takes beside its arguments.
const CALL: usize = 1 << 10;
/// Bytes of texts that are no attack.
const SMALL: usize = 64 << 10;

/// Why a run ended before its script did. It travels through wasmtime as an error, not as a Lua error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `os.exit(code)`.
    Exit(i32),
    /// A limit was reached.
    Limit(Limit),
    /// This signal came.
    Signal(i32),
    /// A decision could not be written to the audit, for this reason.
    Unaudited(String),
}

impl Stop {
    /// The reader of the output is gone: the run ends without a word, as SIGPIPE ends other programs.
    pub fn unread() -> Stop {
        Stop::Signal(libc::SIGPIPE)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Exit(code) => write!(f, "exit {code}"),
            Stop::Limit(limit) => write!(f, "the {} limit was reached", limit.name()),
            Stop::Signal(signal) => write!(f, "stopped by signal {signal}"),
            Stop::Unaudited(why) => write!(f, "the audit cannot be written: {why}"),
        }
    }
}

impl std::error::Error for Stop {}

/// Where the script's standard output and error go.
pub trait Output: Send {
    /// Takes all of `bytes`: writes them, or keeps what cannot be written without waiting.
    ///
    /// # Errors
    /// The operating system's, a closed pipe above all.
    fn write(&mut self, stderr: bool, bytes: &[u8]) -> std::io::Result<()>;

    /// Writes out what was kept, as far as it goes without waiting; whether nothing is left.
    ///
    /// # Errors
    /// As for `write`.
    fn flush(&mut self) -> std::io::Result<bool>;

    /// Whether so much is kept, because nobody reads it, that the script has to wait before it writes more.
    fn is_congested(&self) -> bool {
        false
    }

    /// Resolves when what was kept can be written on.
    fn ready(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

/// The identity of a run, for the audit and the log.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// No other run has it.
    pub run: String,
    pub tenant: Option<String>,
    pub script: String,
    /// SHA-256 of the source, hexadecimal.
    pub script_hash: String,
}

/// A call of a builtin by a script, for a person who is asked whether it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// No other call of the run has it: which instance of the guest it is from, and its number there.
    pub number: (u64, u64),
    /// `script.lua:12`; empty where that is not known.
    pub line: String,
}

/// A run as one call of the script has it, so that whatever is asked in the end, on whichever thread, is asked for that
/// call. Host calls that wait hold it across their waits.
pub struct Run {
    shared: Arc<RunState>,
    call: Option<Call>,
}

impl std::ops::Deref for Run {
    type Target = RunState;

    fn deref(&self) -> &RunState {
        &self.shared
    }
}

/// The state of one run, which all its calls share: its policy and limits, what it has used, and how it ends.
pub struct RunState {
    pub grants: Grants,
    pub limits: Limits,
    pub usage: Usage,
    pub audit: Audit,
    pub identity: Identity,
    /// What the run sees of the process around it.
    pub ambient: Arc<Ambient>,
    /// The directory that relative paths of the script start from; absolute.
    pub working_directory: PathBuf,
    pub started: Instant,
    /// What its script takes for the time.
    pub clock: Arc<dyn Clock>,
    /// What its script has random numbers from.
    pub entropy: Arc<dyn Entropy>,
    /// What it has in place of the world once its script's top level has run and a function of it is called; none where
    /// it goes on to reach outside.
    pub replay: Option<Replay>,
    /// What it counts in, beside itself.
    pub account: Option<Arc<Account>>,
    /// CPU time used so far.
    pub cpu: Arc<Cpu>,
    /// What the host may hold in memory.
    pub budget: Arc<Budget>,
    /// Whether the run must end.
    pub ending: Ending,
    /// The signal that ends the run; 0 means no signal. Shared, because a signal handler lives longer than the run.
    pub signal: Arc<AtomicU32>,
    /// What happened to signals. Shared for the same reason.
    pub signals: Arc<Signals>,
    /// What this run was allowed, for `--learn`; none where nothing learns.
    pub learned: Option<Learned>,
    /// The run's temporary directory, once it has one; kept by the capability that has files, and removed with the run.
    pub temporary: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// Whether builtins behave as the specification says where Assay departs from it (docs/compatibility.md).
    pub compat: bool,
}

impl RunState {
    /// Of a run that begins now, with the limits of `assay run`, no audit, and nobody to learn.
    pub fn new(grants: impl Into<Grants>, working_directory: PathBuf) -> RunState {
        let started = Instant::now();
        RunState {
            grants: grants.into(),
            budget: Budget::new(Limits::default().host_memory()),
            limits: Limits::default(),
            cpu: Arc::default(),
            ending: Ending::default(),
            usage: Usage::default(),
            account: None,
            audit: Audit::default(),
            identity: Identity::default(),
            ambient: Arc::default(),
            working_directory,
            started,
            clock: Arc::new(RealClock::since(started)),
            entropy: Arc::new(RealEntropy),
            replay: None,
            signal: Arc::default(),
            signals: Arc::default(),
            learned: None,
            temporary: Mutex::default(),
            compat: false,
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn limited(self, limits: Limits) -> RunState {
        let parent = self.account.as_ref().map(|account| &account.budget);
        RunState { budget: Budget::within(parent, limits.host_memory()), limits, ..self }
    }

    /// The same as a part of an account.
    #[must_use]
    pub fn within(self, account: Arc<Account>) -> RunState {
        let cpu = Cpu::within(Some(&account.cpu));
        let limits = self.limits.clone();
        RunState { cpu, account: Some(account), ..self }.limited(limits)
    }

    fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.account.iter().flat_map(|account| account.chain())
    }

    /// Counts what the run uses up.
    ///
    /// # Errors
    /// `limit` when the run or an account has no more left; it is counted all the same.
    pub fn spend(&self, what: Counter, amount: u64) -> Result<(), Error> {
        // Each instance of a run has memory of its own, with a limit of its own.
        let own = self.limits.of(what).filter(|_| what != Counter::Memory);
        let mut result = match self.usage.add(what, amount, own) {
            true => Ok(()),
            false => Err(limit_error(what.limit(), own.unwrap_or(u64::MAX))),
        };
        for account in self.accounts() {
            if !account.usage.add(what, amount, account.limits.of(what)) && result.is_ok() {
                result = Err(account.limit_error(what));
            }
        }
        result
    }

    /// Counts what the run has from now on, until it is given back.
    ///
    /// # Errors
    /// `limit` when the run or an account may not have so much; it is not counted then.
    pub fn acquire(&self, what: Counter, amount: u64) -> Result<(), Error> {
        let result = self.spend(what, amount);
        if result.is_err() {
            self.give_back(what, amount);
        }
        result
    }

    /// Tells who waits for a handle that one was given back, here or in another run of the same accounts.
    fn handle_returned(&self) -> &Notify {
        &self.accounts().last().map_or(&self.usage, |account| &account.usage).handle_returned
    }

    /// Takes back what [`RunState::acquire`] counted.
    pub fn give_back(&self, what: Counter, amount: u64) {
        self.usage.subtract(what, amount);
        self.accounts().for_each(|account| account.usage.subtract(what, amount));
    }
}

impl From<RunState> for Run {
    fn from(shared: RunState) -> Run {
        Run { shared: Arc::new(shared), call: None }
    }
}

impl Run {
    /// A run with what [`RunState::new`] gives it.
    pub fn new(grants: impl Into<Grants>, working_directory: PathBuf) -> Run {
        RunState::new(grants, working_directory).into()
    }

    /// What can still be set before the run begins; none once something else has it.
    pub fn settings(&mut self) -> Option<&mut RunState> {
        Arc::get_mut(&mut self.shared)
    }

    /// The same run for a call of the script.
    #[must_use]
    pub fn for_call(&self, call: Call) -> Run {
        Run { shared: self.shared.clone(), call: Some(call) }
    }

    /// Puts a decision into the audit. One that cannot be written ends the run: what nobody can read about afterwards
    /// must not happen.
    fn record(
        &self,
        decision: Decision,
        capability: &str,
        target: &str,
        rule: Option<&str>,
    ) -> Result<(), Error> {
        if decision == Decision::Deny {
            self.usage.denials.fetch_add(1, Ordering::Relaxed);
        }
        let target = &*hide(target);
        let rule = rule.map(hide);
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let event = Event {
            time,
            decision,
            capability,
            target,
            rule: rule.as_deref(),
            tenant: self.identity.tenant.as_deref(),
            run: &self.identity.run,
            script: &self.identity.script,
            script_hash: &self.identity.script_hash,
        };
        self.audit.record(&event, self.limits.audit).map_err(|unwritten| {
            let (stop, failure) = match unwritten {
                Unwritten::Full => (Stop::Limit(Limit::Audit), limit_error(Limit::Audit, self.limits.audit)),
                Unwritten::Failed(failure) => {
                    (Stop::Unaudited(failure.to_string()), io_error("the audit cannot be written", &failure))
                }
            };
            self.ending.end(stop);
            failure
        })
    }

    /// A denial, once it is in the audit.
    fn denial(
        &self,
        capability: &str,
        target: &str,
        rule: Option<&str>,
        refusal: impl FnOnce() -> Error,
    ) -> Error {
        self.record(Decision::Deny, capability, target, rule).err().unwrap_or_else(refusal)
    }

    /// Notes for `--learn` what was allowed and is used.
    pub fn learn(&self, capability: &str, request: &Request<'_>) {
        if let Some(learned) = self.learned.as_ref().filter(|_| !self.grants.is_own(capability, request)) {
            learned.add(capability, request);
        }
    }

    /// The one place where a request of a capability is decided, audited and learned.
    ///
    /// # Errors
    /// `denied`, with the flag that would grant it.
    pub fn check(&self, capability: &str, request: &Request<'_>) -> Result<(), Error> {
        self.check_whole(capability, request)?;
        self.learn(capability, request);
        Ok(())
    }

    /// [`Run::check`] of what the call does without, where it is denied: `--learn` does not write it.
    ///
    /// # Errors
    /// As for [`Run::check`].
    pub fn check_whole(&self, capability: &str, request: &Request<'_>) -> Result<(), Error> {
        let what = request.describe(capability);
        match self.grants.decide(self.call.as_ref(), capability, request) {
            Verdict::Allow(rule) => {
                self.guard_name(capability, request, &what, request.scope())?;
                self.record(Decision::Allow, capability, &what, Some(&rule))
            }
            Verdict::Deny(rule) => Err(self.denial(capability, &what, rule.as_deref(), || {
                refusal(capability, request, &what, rule.as_deref())
            })),
        }
    }

    /// Checks what was granted with something else, which `with` names: it is denied by a deny rule only.
    ///
    /// # Errors
    /// `denied`.
    pub fn check_included(&self, capability: &str, request: &Request<'_>, with: &str) -> Result<(), Error> {
        self.check_undenied(capability, request)?;
        self.record(Decision::Allow, capability, &request.describe(capability), Some(with))
    }

    /// Refuses what a deny rule is about, where [`Run::check`] has decided the call as a whole.
    ///
    /// # Errors
    /// `denied`.
    pub fn check_undenied(&self, capability: &str, request: &Request<'_>) -> Result<(), Error> {
        let what = request.describe(capability);
        match self.grants.denial(capability, request) {
            Some(rule) => Err(self.refuse_by(capability, &what, &rule)),
            None => {
                // Its scopes name hosts and ports, as such.
                let place = match request {
                    Request::Network { host, port, .. } => Some(crate::scope::host_and_port(host, *port)),
                    _ => None,
                };
                self.guard_name(capability, request, &what, place)
            }
        }
    }

    /// Refuses by a rule, which the audit gets too.
    pub fn refuse_by(&self, capability: &str, what: &str, rule: &str) -> Error {
        self.denial(capability, what, Some(rule), || denied_by(what, rule))
    }

    /// Whether a request would be allowed, without asking, auditing or learning.
    pub fn would_allow(&self, capability: &str, request: &Request<'_>) -> bool {
        matches!(self.grants.decide_unasked(capability, request), Some(Verdict::Allow(_)))
    }

    /// Whether a rule names the request's scheme itself: what a broad rule does not grant by the way (going
    /// from https to http, a proxy).
    pub fn grants_scheme(&self, capability: &str, request: &Request<'_>) -> bool {
        self.grants.names_scheme(capability, request)
    }

    /// Refuses a request that only a rule of its own kind grants, as [`Run::check`] does.
    pub fn refuse(&self, capability: &str, request: &Request<'_>) -> Error {
        let what = request.describe(capability);
        if let Some(rule) = self.grants.denial(capability, request) {
            return self.refuse_by(capability, &what, &rule);
        }
        self.denial(capability, &what, None, || refusal(capability, request, &what, None))
    }

    /// Records a denial that was not decided by [`Run::check`]: a call of a capability that is not linked.
    pub fn record_denial(&self, capability: &str, target: &str) {
        // Where it cannot be written the run ends; the caller denies in any case.
        let _ = self.record(Decision::Deny, capability, target, None);
    }

    /// The first half of the network check: by name. Gives the rule; none where only the addresses can
    /// decide.
    pub(crate) fn check_name(
        &self,
        capability: &str,
        request: &Request<'_>,
    ) -> Result<Option<String>, Error> {
        if self.grants.depends_on_address(capability, request) {
            // A person is asked once it is known that no address decides.
            return Ok(match self.grants.decide_unasked(capability, request) {
                Some(Verdict::Allow(rule)) => Some(rule),
                Some(Verdict::Deny(rule)) => {
                    let rule = rule.unwrap_or_default();
                    return Err(self.refuse_by(capability, &request.describe(capability), &rule));
                }
                None => None,
            });
        }
        let what = request.describe(capability);
        match self.grants.decide(self.call.as_ref(), capability, request) {
            Verdict::Allow(rule) => {
                self.guard_name(capability, request, &what, request.scope())?;
                Ok(Some(rule))
            }
            Verdict::Deny(rule) => Err(self.denial(capability, &what, rule.as_deref(), || {
                refusal(capability, request, &what, rule.as_deref())
            })),
        }
    }

    /// The second half: each address that the name led to.
    pub(crate) fn check_address(
        &self,
        capability: &str,
        request: &Request<'_>,
        by_name: Option<&str>,
        address: IpAddr,
    ) -> Result<(), Error> {
        let Request::Network { scheme, method, host, port, path, .. } = *request else {
            return Err(error(ErrorCode::InvalidArgument, "not a network request"));
        };
        let at = Request::Network { scheme, method, host, port, path, address: Some(address) };
        let what = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(_) => request.describe(capability),
            Err(_) => format!("{} (at {address})", request.describe(capability)),
        };
        // What the name was allowed by, a person's answer too, holds for each of its addresses.
        let decided = match (self.grants.decide_unasked(capability, &at), by_name) {
            (Some(verdict), _) => verdict,
            (None, Some(rule)) => Verdict::Allow(rule.to_string()),
            (None, None) => self.grants.decide(self.call.as_ref(), capability, &at),
        };
        let rule = match decided {
            Verdict::Allow(rule) => rule,
            Verdict::Deny(rule) => {
                return Err(self.denial(capability, &what, rule.as_deref(), || {
                    refusal(capability, request, &what, rule.as_deref())
                }));
            }
        };
        let by_range = by_name.is_none() && self.grants.depends_on_address(capability, &at);
        let host = address.to_canonical().to_string();
        let there = Request::Network { scheme, method, host: &host, port, path, address: None };
        self.guard_address(capability, &what, address, by_range, there.scope().as_deref())?;
        self.record(Decision::Allow, capability, &what, Some(&rule))?;
        self.learn(capability, request);
        Ok(())
    }

    /// The same for a place that was decided by other rules: what deny rules say about the address, and the guard.
    pub(crate) fn check_decided_address(
        &self,
        capability: &str,
        request: &Request<'_>,
        address: IpAddr,
    ) -> Result<(), Error> {
        let Request::Network { scheme, method, host, port, path, .. } = *request else {
            return Err(error(ErrorCode::InvalidArgument, "not a network request"));
        };
        let at = Request::Network { scheme, method, host, port, path, address: Some(address) };
        let place = crate::scope::host_and_port(host, port);
        let what = format!("{capability} to {place} (at {address})");
        if let Some(rule) = self.grants.denial(capability, &at) {
            return Err(self.refuse_by(capability, &what, &rule));
        }
        let scope = crate::scope::host_and_port(&address.to_canonical().to_string(), port);
        self.guard_address(capability, &what, address, false, Some(&scope))
    }

    /// What is refused whatever the rules say about the name: addresses where clouds serve credentials, and,
    /// where only public addresses are reached, all others. `by_range` is whether a rule about addresses decided,
    /// `scope` what lifts the guard.
    fn guard_address(
        &self,
        capability: &str,
        what: &str,
        address: IpAddr,
        by_range: bool,
        scope: Option<&str>,
    ) -> Result<(), Error> {
        let named = self.grants.names_address(capability, address);
        let is_inner = |address| crate::address::is_loopback(address) || crate::address::is_private(address);
        let guarded = if crate::address::is_special(address) && !named {
            "it is a link-local, metadata or multicast address"
        } else if self.grants.public_only
            && !named
            && !by_range
            && crate::address::leads_to(address, is_inner)
        {
            "it is not a public address"
        } else {
            return Ok(());
        };
        Err(self.guarded(capability, what, guarded, scope))
    }

    /// The guard on the names of metadata services, for where a proxy looks the name up.
    fn guard_name(
        &self,
        capability: &str,
        request: &Request<'_>,
        what: &str,
        scope: Option<String>,
    ) -> Result<(), Error> {
        let Request::Network { host, .. } = request else { return Ok(()) };
        if !crate::address::is_metadata_name(host) || self.grants.names_host(capability, host) {
            return Ok(());
        }
        let why = "it is the name of a metadata service of a cloud";
        Err(self.guarded(capability, what, why, scope.as_deref()))
    }

    fn guarded(&self, capability: &str, what: &str, why: &str, scope: Option<&str>) -> Error {
        self.denial(capability, what, Some("address guard"), || {
            let flag = crate::scope::allow_flag(capability, scope);
            error(
                ErrorCode::Denied,
                format!("{what} is refused: {why}; run again with {flag} if it is meant"),
            )
        })
    }

    /// Counts bytes that go through a capability.
    ///
    /// # Errors
    /// `limit` when the run has no more left.
    pub fn count_bytes(&self, bytes: usize) -> Result<(), Error> {
        self.spend(Counter::HostBytes, bytes as u64)
    }

    /// Takes from the budget what a call that waits keeps of its texts: as they came, as they are resolved and compared,
    /// and in a message. Texts of the usual length wait for it; the caller must hold nothing that others wait for.
    ///
    /// # Errors
    /// `limit` when the run has not so much left.
    pub async fn hold(&self, texts: &[&str]) -> Result<Held, Error> {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let bytes = CALL.saturating_add(bytes.saturating_mul(4));
        if bytes > SMALL { self.budget.take(bytes) } else { self.budget.take_soon(bytes).await }
    }

    /// Takes one handle (an open file, a connection); it is given back when the guard is dropped.
    ///
    /// # Errors
    /// `limit` when the run holds as many as it may.
    pub fn take_handle(self: &Arc<Self>) -> Result<HandleGuard, Error> {
        self.acquire(Counter::Handles, 1)?;
        Ok(HandleGuard(self.clone()))
    }

    /// Takes one of the run's handles as soon as there is one.
    pub async fn take_handle_soon(self: &Arc<Self>) -> HandleGuard {
        loop {
            let returned = self.handle_returned().notified();
            tokio::pin!(returned);
            // Before the look, so that nothing is missed between the two.
            returned.as_mut().enable();
            if let Ok(handle) = self.take_handle() {
                return handle;
            }
            returned.await;
        }
    }

    /// Whether a handle can be taken so that a part of them stays for what else the run does: where it is both client
    /// and server, each must have some.
    pub fn has_handles_to_spare(&self) -> bool {
        const PART: u64 = 8;
        let limit = self.limits.handles;
        self.usage.now(Counter::Handles) < limit - limit / PART
    }

    /// An absolute path for one that the script wrote, without `.` and `..`; links are not looked at.
    pub fn path(&self, path: &str) -> PathBuf {
        crate::scope::normalize(&self.working_directory.join(path))
    }
}

/// One of the run's handles.
pub struct HandleGuard(Arc<Run>);

impl HandleGuard {
    /// The run that it belongs to.
    pub fn run(&self) -> &Arc<Run> {
        &self.0
    }
}

impl Drop for HandleGuard {
    fn drop(&mut self) {
        self.0.give_back(Counter::Handles, 1);
        self.0.handle_returned().notify_waiters();
    }
}

/// The error of a call that would go over a limit.
pub fn limit_error(limit: Limit, allowed: u64) -> Error {
    let name = limit.name();
    error(
        ErrorCode::Limit,
        format!("the {name} limit of this run is reached ({allowed}); raise it with --{name}"),
    )
}

fn refusal(capability: &str, request: &Request<'_>, what: &str, rule: Option<&str>) -> Error {
    match rule {
        Some(rule) => denied_by(what, rule),
        None if !request.has_own_scope() => denied_without_scope(what),
        None => denied(what, capability, request.scope().as_deref()),
    }
}

/// The concrete data of every store, so that a capability's glue is compiled in its own crate.
pub struct Ctx {
    pub table: ResourceTable,
    pub run: Arc<Run>,
    pub output: Box<dyn Output>,
    services: Services,
    pub(crate) sources: Sources,
    states: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Ctx {
    pub fn new(run: Arc<Run>, output: Box<dyn Output>, services: Services) -> Ctx {
        let mut table = ResourceTable::new();
        table.set_max_capacity(
            usize::try_from(run.limits.handles).unwrap_or(usize::MAX).saturating_mul(4).max(64),
        );
        let sources = Sources::of(&run);
        Ctx { table, run, output, services, sources, states: HashMap::new() }
    }

    /// Waits until the readers of the output took so much of it that the script may write more.
    ///
    /// # Errors
    /// Those of [`Output::flush`].
    pub async fn settle(&mut self) -> std::io::Result<()> {
        while self.output.is_congested() && !self.output.flush()? {
            self.output.ready().await;
        }
        Ok(())
    }

    /// Waits until all output is written.
    ///
    /// # Errors
    /// Those of [`Output::flush`].
    pub async fn drain(&mut self) -> std::io::Result<()> {
        while !self.output.flush()? {
            self.output.ready().await;
        }
        Ok(())
    }

    /// What the program that runs the script offers as a type. What a capability requires
    /// ([`crate::Capability::requires`]) is there.
    pub fn service<T: ?Sized + Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.services.get()
    }

    /// What a capability keeps for this run, made when it is first asked for.
    pub fn state<T: Default + Send + 'static>(&mut self) -> &mut T {
        self.state_or(T::default)
    }

    /// What a capability keeps for this run, made by `make` when it is first asked for.
    pub fn state_or<T: Send + 'static>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let state = self.states.entry(TypeId::of::<T>()).or_insert_with(|| Box::new(make()));
        match state.downcast_mut() {
            Some(state) => state,
            None => unreachable!("states are stored under their own type"),
        }
    }

    /// Puts a state in place before the run, for what the runtime gives a capability.
    pub fn set_state<T: Send + 'static>(&mut self, state: T) {
        self.states.insert(TypeId::of::<T>(), Box::new(state));
    }
}
