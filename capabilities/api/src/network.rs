//! The one network check: names are resolved here, and connections go to the addresses that
//! were checked.

pub use crate::address::{is_loopback, is_private, is_special, leads_to, unwrap};

use crate::types::{Error, ErrorCode};
use crate::{Request, Run, error};
use std::net::{IpAddr, SocketAddr};

/// `host:port` of a URL that has one of `schemes`.
pub fn place(url: &str, schemes: &[&str]) -> Option<String> {
    let url = url::Url::parse(url).ok().filter(|url| schemes.contains(&url.scheme()))?;
    Some(crate::scope::host_and_port(url.host_str()?, url.port_or_known_default()?))
}

/// Checks a connection and gives the addresses it may go to, in the resolver's order.
///
/// # Errors
/// `denied` where no grant covers the name or none of its addresses, `unavailable` where the name does
/// not resolve.
pub async fn resolve(run: &Run, capability: &str, request: &Request<'_>) -> Result<Vec<SocketAddr>, Error> {
    let Request::Network { host, port, .. } = *request else {
        return Err(error(ErrorCode::InvalidArgument, "not a network request"));
    };
    let by_name = run.check_name(capability, request)?;
    let addresses = look_up(host, port).await?;
    permitted(addresses, |address| run.check_address(capability, request, by_name.as_deref(), address))
}

/// The addresses of a place that was granted by rules which are not about places (a repository of a
/// registry), decided by [`Run::check`] before. What is left to check are rules that deny, and the guard on addresses.
///
/// # Errors
/// `denied` where none of the addresses may be reached, `unavailable` where the name does not resolve.
pub async fn resolve_decided(
    run: &Run,
    capability: &str,
    request: &Request<'_>,
) -> Result<Vec<SocketAddr>, Error> {
    let Request::Network { host, port, .. } = *request else {
        return Err(error(ErrorCode::InvalidArgument, "not a network request"));
    };
    run.check_undenied(capability, request)?;
    let addresses = look_up(host, port).await?;
    permitted(addresses, |address| run.check_decided_address(capability, request, address))
}

/// [`check_open`] for a place that was decided as for [`resolve_decided`].
///
/// # Errors
/// `denied`.
pub fn check_decided(
    run: &Run,
    capability: &str,
    request: &Request<'_>,
    address: Option<IpAddr>,
) -> Result<(), Error> {
    run.check_undenied(capability, request)?;
    match address {
        Some(address) => run.check_decided_address(capability, request, address),
        None => Ok(()),
    }
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|source| {
            error(ErrorCode::Unavailable, format!("{bare}: the name does not resolve: {source}"))
        })?
        .collect();
    if addresses.is_empty() {
        return Err(error(ErrorCode::Unavailable, format!("{bare}: the name has no addresses")));
    }
    Ok(addresses)
}

/// The addresses that pass; the last refusal where none does.
fn permitted(
    addresses: Vec<SocketAddr>,
    check: impl Fn(IpAddr) -> Result<(), Error>,
) -> Result<Vec<SocketAddr>, Error> {
    let mut refusal = None;
    let mut allowed = Vec::new();
    for address in addresses {
        match check(address.ip()) {
            Ok(()) => allowed.push(address),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if allowed.is_empty() => Err(error),
        _ => Ok(allowed),
    }
}

/// Checks a request that would go over a connection that is already open to `address`.
///
/// # Errors
/// `denied`, as for [`resolve`].
pub fn check_open(run: &Run, capability: &str, request: &Request<'_>, address: IpAddr) -> Result<(), Error> {
    let by_name = run.check_name(capability, request)?;
    run.check_address(capability, request, by_name.as_deref(), address)
}
