//! The caller of a connection, which decides how its host and its addresses are checked.

use crate::request::Head;
use assay_capability_api::types::Error;
use assay_capability_api::{Run, network};
use std::net::{IpAddr, SocketAddr};

/// The capability that a connection is for.
#[derive(Clone, Copy, Debug)]
pub enum Caller {
    /// Its scopes are places: each request is matched.
    Places(&'static str),
    /// It has decided by rules of its own before it asked; addresses are guarded all the same.
    Decided(&'static str),
}

impl Caller {
    /// The addresses that a request may go to.
    ///
    /// # Errors
    /// `denied`, `unavailable` where the name does not resolve.
    pub async fn resolve(self, run: &Run, head: &Head) -> Result<Vec<SocketAddr>, Error> {
        match self {
            Caller::Places(name) => network::resolve(run, name, &head.asked()).await,
            Caller::Decided(name) => network::resolve_decided(run, name, &head.asked()).await,
        }
    }

    /// Checks a request that would go over a connection that is already open to `address`.
    ///
    /// # Errors
    /// `denied`.
    pub fn check_open(self, run: &Run, head: &Head, address: IpAddr) -> Result<(), Error> {
        match self {
            Caller::Places(name) => network::check_open(run, name, &head.asked(), address),
            Caller::Decided(name) => network::check_decided(run, name, &head.asked(), Some(address)),
        }
    }

    /// Checks a request of which only a proxy will know the address.
    ///
    /// # Errors
    /// `denied`.
    pub fn check_name(self, run: &Run, head: &Head) -> Result<(), Error> {
        match self {
            Caller::Places(name) => run.check(name, &head.asked()),
            Caller::Decided(name) => network::check_decided(run, name, &head.asked(), None),
        }
    }
}
