//! The one network check: names are resolved here, and what is connected to are the addresses that
//! were checked.

use crate::types::{Error, ErrorCode};
use crate::{Request, Run, error};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Loopback, and the unspecified address, which reaches loopback.
pub fn is_loopback(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// The private ranges (RFC 1918, RFC 4193, and RFC 6598's shared range).
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.segments()[0] & 0xfe00 == 0xfc00,
    }
}

/// Addresses that no name may lead to: link-local ones, where clouds serve credentials, the metadata
/// addresses outside that range, multicast and broadcast.
pub fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let metadata = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];
            v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || metadata.contains(&v4.octets())
        }
        IpAddr::V6(v6) => {
            const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            // 64:ff9b::/96 and 2002::/16 carry an IPv4 address.
            let embedded = match v6.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
                    let [a, b] = [a.to_be_bytes(), b.to_be_bytes()];
                    Some(IpAddr::from([a[0], a[1], b[0], b[1]]))
                }
                _ => None,
            };
            v6.segments()[0] & 0xffc0 == 0xfe80
                || v6.is_multicast()
                || v6 == METADATA
                || embedded.is_some_and(is_special)
        }
    }
}

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
/// registry), decided by [`Run::check`] before. What is left to check is the guard on addresses.
///
/// # Errors
/// `denied` where none of the addresses may be reached, `unavailable` where the name does not resolve.
pub async fn resolve_decided(
    run: &Run,
    capability: &str,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Error> {
    let addresses = look_up(host, port).await?;
    permitted(addresses, |address| check_decided(run, capability, host, port, address))
}

/// [`check_open`] for a place that was decided as for [`resolve_decided`].
///
/// # Errors
/// `denied`.
pub fn check_decided(
    run: &Run,
    capability: &str,
    host: &str,
    port: u16,
    address: IpAddr,
) -> Result<(), Error> {
    let what = format!("{capability} to {} (at {address})", crate::scope::host_and_port(host, port));
    run.guard_address(capability, &what, address, port, false)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses() {
        for (address, special) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("2002:a9fe:a9fe::1", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("100.100.100.200", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("1.1.1.1", false),
            ("2606:4700::1", false),
        ] {
            assert_eq!(is_special(address.parse().unwrap()), special, "{address}");
        }
        assert!(is_loopback("0.0.0.0".parse().unwrap()));
        assert!(is_loopback("::".parse().unwrap()));
        assert!(is_loopback("::ffff:127.0.0.1".parse().unwrap()));
        assert!(is_private("100.64.0.1".parse().unwrap()));
        assert!(!is_private("100.128.0.1".parse().unwrap()));
    }
}
