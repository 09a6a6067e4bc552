//! A client, as the limits know it.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Whoever shares this value shares one limit: an IPv4 address, or the /64 network of an IPv6 address, since one
/// client may use every address of such a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 => v4,
        })
    }
}

impl Peer {
    /// Whether it is, or holds, an address of one of `networks`.
    pub fn is_in(self, networks: &[IpNet]) -> bool {
        networks.iter().any(|network| network.contains(&self.0) || Self::from(network.addr()) == self)
    }

    /// Whether it is on this machine.
    pub fn is_loopback(self) -> bool {
        // `::1` is known by its network alone, which nobody else has.
        self.0.is_loopback() || self.0 == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_client_are_one_peer() {
        let peer = |text: &str| Peer::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:127.0.0.1"), peer("127.0.0.1"));
        assert_ne!(peer("127.0.0.1"), peer("127.0.0.2"));
        assert!(peer("::1").is_loopback() && peer("127.0.0.9").is_loopback());
        assert!(!peer("2001:db8::1").is_loopback() && !peer("10.0.0.1").is_loopback());
    }
}
