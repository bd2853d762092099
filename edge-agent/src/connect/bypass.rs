//! NO_PROXY: hosts that are reached without the proxy.
//!
//! The usual form (curl, Go): entries separated by commas; `*` is everything, `example.com` and
//! `.example.com` the name and all below it, `10.0.0.5` an address, `10.0.0.0/8` a network, and `:port`
//! after a name or an IPv4 address limits it to that port. What cannot be read covers nothing.

use std::net::IpAddr;

/// What is reached directly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bypass {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Everything,
    Network { address: IpAddr, bits: u32 },
    Name { suffix: String, port: Option<u16> },
}

impl Bypass {
    pub(super) fn parse(text: &str) -> Self {
        let entries = text.split(',').map(str::trim);
        Self {
            entries: entries.filter_map(Entry::parse).collect(),
        }
    }

    pub(super) fn covers(&self, host: &str, port: u16) -> bool {
        self.entries.iter().any(|entry| entry.covers(host, port))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Everything);
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            let bits = width(address);
            return Some(Self::Network { address, bits });
        }
        if let Some((address, bits)) = text.split_once('/') {
            let (address, bits) = (address.parse().ok()?, bits.parse().ok()?);
            return (bits <= width(address)).then_some(Self::Network { address, bits });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let suffix = name.trim_start_matches('.').to_ascii_lowercase();
        (!suffix.is_empty()).then_some(Self::Name { suffix, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Network { address, bits } => host
                .parse()
                .is_ok_and(|host| leading(host, *bits) == leading(*address, *bits)),
            Self::Name { suffix, port: only } => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host
                    .strip_suffix(suffix.as_str())
                    .is_some_and(|above| above.is_empty() || above.ends_with('.'));
                below && only.is_none_or(|only| only == port)
            }
        }
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The first `bits` bits, with the family, so that the two never compare as equal.
fn leading(address: IpAddr, bits: u32) -> (u32, u128) {
    let width = width(address);
    let value = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    (
        width,
        value.checked_shr(width - bits.min(width)).unwrap_or(0),
    )
}
