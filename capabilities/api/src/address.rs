//! What an address leads to: the forms in which IPv6 carries IPv4, and the kinds of addresses.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

/// Every address that a packet to `address` may end at: itself in its one spelling, and the IPv4 addresses
/// that it carries by one of the ways from IPv6 to IPv4.
pub fn unwrap(address: IpAddr) -> Vec<IpAddr> {
    let own = address.to_canonical();
    let mut all = vec![own];
    let IpAddr::V6(v6) = own else { return all };
    let o = v6.octets();
    let low = [o[12], o[13], o[14], o[15]];
    let mut add = |octets: [u8; 4]| all.push(IpAddr::from(octets));
    match v6.segments() {
        // IPv4-compatible (RFC 4291 2.5.5.1); `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, a, b] if a != 0 || b > 1 => add(low),
        // SIIT (RFC 2765 2.1), and NAT64 with its well-known prefix (RFC 6052 2.1).
        [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => add(low),
        // NAT64 with the prefix for local use (RFC 8215), whose length nobody but its network knows (RFC 6052 2.2).
        [0x64, 0xff9b, 1, ..] => {
            add([o[6], o[7], o[9], o[10]]);
            add([o[7], o[9], o[10], o[11]]);
            add([o[9], o[10], o[11], o[12]]);
            add(low);
        }
        // 6to4 (RFC 3056 2).
        [0x2002, ..] => add([o[2], o[3], o[4], o[5]]),
        // Teredo (RFC 4380 4): the server, and the client with its bits turned.
        [0x2001, 0, ..] => {
            add([o[4], o[5], o[6], o[7]]);
            add(low.map(|octet| !octet));
        }
        _ => {}
    }
    // ISATAP (RFC 5214 6.1), below any prefix.
    if matches!(v6.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, ..]) {
        add(low);
    }
    all
}

/// Whether `test` holds for an address or for one that it carries.
pub fn leads_to(address: IpAddr, test: impl Fn(IpAddr) -> bool) -> bool {
    unwrap(address).into_iter().any(test)
}

/// Loopback, and the unspecified address, which reaches loopback.
pub fn is_loopback(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// Whether an address, or one that it carries, is this machine: loopback, or that of one of its interfaces.
pub fn is_this_machine(address: IpAddr) -> bool {
    // Only an address of the machine's own can be bound to; no packet is sent.
    let own = |address: IpAddr| !address.is_multicast() && UdpSocket::bind((address, 0)).is_ok();
    leads_to(address, |address| is_loopback(address) || own(address))
}

/// The private ranges (RFC 1918, RFC 4193, RFC 6598's shared range, and the site-local one before RFC 3879).
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        IpAddr::V6(v6) => v6.segments()[0] & 0xfe00 == 0xfc00 || v6.segments()[0] & 0xffc0 == 0xfec0,
    }
}

/// Addresses that no name may lead to: link-local ones, where clouds serve credentials, the metadata
/// addresses outside that range, multicast and broadcast, in any form that carries one.
pub fn is_special(address: IpAddr) -> bool {
    leads_to(address, is_special_itself)
}

pub(crate) fn is_special_itself(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || METADATA_V4.contains(&v4.octets())
        }
        IpAddr::V6(v6) => {
            let is_link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            is_link_local || v6.is_multicast() || is_metadata(v6)
        }
    }
}

/// Alibaba Cloud; Oracle Cloud Classic; Azure, whose WireServer gives extensions their secrets. All others that are
/// documented are link-local: AWS, Azure, DigitalOcean, Equinix Metal, Exoscale, Google, Hetzner, Huawei, IBM, OpenStack,
/// Oracle, OVH, UpCloud, Vultr, Yandex (169.254.169.254), ECS (169.254.170.2), EKS (169.254.170.23), Scaleway
/// (169.254.42.42), Tencent (169.254.0.23).
const METADATA_V4: [[u8; 4]; 3] = [[100, 100, 100, 200], [192, 0, 0, 192], [168, 63, 129, 16]];

fn is_metadata(address: Ipv6Addr) -> bool {
    match address.segments() {
        // AWS: instances (::254), pods of EKS (::23), and its other services beside them.
        [0xfd00, 0xec2, ..]
        // Google, Scaleway, Akamai, Alibaba.
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
        | [0xfd00, 0xa9fe, 0xa9fe, ..]
        | [0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200]
        // 169.254.169.254 at the end, as Oracle (fd00:c1::) and OpenStack (fe80::) write it, and NAT64 with a prefix of
        // the network's own.
        | [.., 0xa9fe, 0xa9fe] => true,
        _ => false,
    }
}

/// Names under which clouds serve credentials; for requests whose address only a proxy gets to know.
pub fn is_metadata_name(host: &str) -> bool {
    const NAMES: &[&str] = &[
        "metadata",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.tencentyun.com",
        "metadata.platformequinix.com",
        "metadata.packet.net",
        "api.metadata.cloud.ibm.com",
        "rancher-metadata",
    ];
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    NAMES.contains(&host.as_str()) || host.ends_with(".metadata.google.internal")
}

/// The names of this machine in every resolver (RFC 6761 6.3, and the hosts files of distributions).
pub fn is_local_name(host: &str) -> bool {
    const NAMES: &[&str] = &[
        "localhost",
        "localhost4",
        "localhost6",
        "localhost.localdomain",
        "localhost4.localdomain4",
        "localhost6.localdomain6",
        "ip6-localhost",
        "ip6-loopback",
    ];
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    NAMES.contains(&host.as_str()) || host.ends_with(".localhost")
}

/// Whether a name is the one that this machine gives itself.
pub fn is_own_name(host: &str) -> bool {
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim();
    !own.is_empty() && own.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Every way in which IPv6 carries 10.1.2.3.
    const TEN: &[&str] = &[
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "::10.1.2.3",
        "::ffff:0:10.1.2.3",
        "64:ff9b::10.1.2.3",
        "64:ff9b:1::10.1.2.3",
        "64:ff9b:1:a01:2:300::",
        "64:ff9b:1:a:1:203::",
        "64:ff9b:1:0:a:102:300:0",
        "2002:a01:203::1",
        "2001:0:a01:203:0:0:505:505",
        "2001:0:505:505:0:0:f5fe:fdfc",
        "2001:db8::5efe:a01:203",
        "fe80::200:5efe:10.1.2.3",
    ];

    #[test]
    fn carried_addresses() {
        for text in TEN {
            assert!(unwrap(ip(text)).contains(&ip("10.1.2.3")), "{text}: {:?}", unwrap(ip(text)));
            assert!(leads_to(ip(text), is_private), "{text}");
        }
        for text in ["::1", "::", "2001:db8::a01:203", "2001:1::a01:203", "fd00::1"] {
            assert_eq!(unwrap(ip(text)), [ip(text)], "{text}");
        }
    }

    #[test]
    fn special_addresses() {
        for (address, special) in [
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("169.254.170.23", true),
            ("169.254.0.23", true),
            ("169.254.42.42", true),
            ("100.100.100.200", true),
            ("192.0.0.192", true),
            ("168.63.129.16", true),
            ("::ffff:169.254.169.254", true),
            ("::169.254.169.254", true),
            ("::ffff:0:169.254.169.254", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("64:ff9b::168.63.129.16", true),
            ("64:ff9b:1:a9fe:a9:fe00::", true),
            ("2002:a9fe:a9fe::1", true),
            ("2001:0:505:505:0:0:5601:5601", true),
            ("2001:db8::5efe:a9fe:a9fe", true),
            ("2001:db8:64::a9fe:a9fe", true),
            ("fe80::1", true),
            ("fe80::a9fe:a9fe", true),
            ("fd00:ec2::254", true),
            ("fd00:ec2::23", true),
            ("fd20:ce::254", true),
            ("fd00:c1::a9fe:a9fe", true),
            ("fd00:42::42", true),
            ("fd00:a9fe:a9fe::1", true),
            ("fd00:100::100:200", true),
            ("224.0.0.1", true),
            ("ff02::1", true),
            ("255.255.255.255", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("1.1.1.1", false),
            ("168.63.129.17", false),
            ("fd00:43::42", false),
            ("fd00::1", false),
            ("2606:4700::1", false),
        ] {
            assert_eq!(is_special(ip(address)), special, "{address}");
        }
        assert!(is_metadata_name("Metadata.Google.Internal.") && !is_metadata_name("metadata.example"));
    }

    #[test]
    fn this_machine() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::",
        ] {
            assert!(is_this_machine(ip(address)), "{address}");
        }
        for address in ["192.0.2.1", "224.0.0.1", "2001:db8::1"] {
            assert!(!is_this_machine(ip(address)), "{address}");
        }
        assert!(is_loopback(ip("::ffff:127.0.0.1")) && !is_loopback(ip("64:ff9b::127.0.0.1")));
        assert!(is_private(ip("100.64.0.1")) && !is_private(ip("100.128.0.1")));
        assert!(
            is_local_name("LocalHost.")
                && is_local_name("a.localhost")
                && !is_local_name("localhost.example")
        );
    }
}
