//! Which addresses a flow's requests may reach, so that an event's text cannot steer one inside.
//!
//! Judged twice: the URL before each request and each redirect, and every resolved address at the
//! moment of connecting, so a name that changes its answer in between gains nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// What `[http] allow` permits; without rules everything but [`is_forbidden`] addresses.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Option<Vec<Rule>>,
}

/// One line of `[http] allow`.
#[derive(Debug, PartialEq)]
enum Rule {
    /// `host`, `host:port`, `*.domain`
    Name {
        /// In lower case, without the leading `*`.
        host: String,
        below: bool,
        port: Option<u16>,
    },
    /// `10.0.0.0/8`, `10.0.0.1`, `10.0.0.1:80`, `[fd00::1]:80`
    Net {
        net: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
}

/// The answer for a name before it is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Yes,
    ByAddress,
    No,
}

/// A request that the policy does not let out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden(pub String);

impl fmt::Display for Forbidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} is not allowed; see `allow` under [http] in settings.toml",
            self.0
        )
    }
}

impl std::error::Error for Forbidden {}

impl Policy {
    /// Reads `[http] allow`. `None` permits every address but link-local and cloud metadata.
    ///
    /// # Errors
    /// A sentence that quotes the entry that is neither a host, a host with a port, `*.domain`,
    /// an address nor a network.
    pub fn new(allow: Option<&[String]>) -> Result<Policy, String> {
        let rules: Option<Result<Vec<Rule>, String>> =
            allow.map(|entries| entries.iter().map(|entry| rule(entry)).collect());
        Ok(Policy {
            rules: rules.transpose()?,
        })
    }

    /// Judges a URL before it is asked for.
    ///
    /// # Errors
    /// Names what is not allowed: the scheme, a user name in the URL, the host.
    pub fn judge(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden(format!("the scheme `{}`", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let what = "a user name or password inside a URL (use an Authorization header)";
            return Err(Forbidden(what.to_owned()));
        }
        let host = url.host_str().unwrap_or("");
        let port = url.port_or_known_default().unwrap_or(0);
        let allowed = match literal(host) {
            Some(address) => self.permits_literal(address, port),
            None => self.verdict(host, port) != Verdict::No,
        };
        match allowed {
            true => Ok(()),
            false => Err(Forbidden(format!("{host}:{port}"))),
        }
    }

    /// True if a name may be handed to a proxy, which resolves it where we cannot see.
    pub fn permits_unseen(&self, host: &str, port: u16) -> bool {
        literal(host).is_some() || self.rules.is_none() || self.verdict(host, port) == Verdict::Yes
    }

    /// True if a connection for `host` may go to `address`, to which it was just resolved.
    pub fn permits_resolved(&self, host: &str, address: IpAddr) -> bool {
        let Some(rules) = &self.rules else {
            return !is_forbidden(address);
        };
        // The port of a name's rule was judged with the URL; a network with a port is for
        // addresses written out.
        let listed = rules.iter().any(|rule| rule.covers(address, None));
        let named = rules.iter().any(|rule| rule.names(host));
        listed || (named && !is_forbidden(address))
    }

    fn permits_literal(&self, address: IpAddr, port: u16) -> bool {
        match &self.rules {
            None => !is_forbidden(address),
            Some(rules) => rules.iter().any(|rule| rule.covers(address, Some(port))),
        }
    }

    fn verdict(&self, host: &str, port: u16) -> Verdict {
        let Some(rules) = &self.rules else {
            return Verdict::ByAddress;
        };
        let naming: Vec<&Rule> = rules.iter().filter(|rule| rule.names(host)).collect();
        if naming.iter().any(|rule| rule.is_for_port(port)) {
            return Verdict::Yes;
        }
        let net = |rule: &Rule| matches!(rule, Rule::Net { port: None, .. });
        match naming.is_empty() && rules.iter().any(net) {
            true => Verdict::ByAddress,
            // Naming a host with a port leaves it that port alone.
            false => Verdict::No,
        }
    }
}

impl Rule {
    fn names(&self, asked: &str) -> bool {
        let asked = asked.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Rule::Name {
                host, below: false, ..
            } => *host == asked,
            Rule::Name { host, .. } => asked.ends_with(host.as_str()) && asked.len() > host.len(),
            Rule::Net { .. } => false,
        }
    }

    fn is_for_port(&self, asked: u16) -> bool {
        let (Rule::Name { port, .. } | Rule::Net { port, .. }) = self;
        port.is_none_or(|port| port == asked)
    }

    fn covers(&self, address: IpAddr, asked: Option<u16>) -> bool {
        let Rule::Net { net, bits, port } = self else {
            return false;
        };
        let right_port = match (port, asked) {
            (None, _) => true,
            (Some(port), asked) => asked == Some(*port),
        };
        right_port && is_inside(plain(address), *net, *bits)
    }
}

/// True for link-local addresses and the well-known metadata services of clouds: AWS, Azure,
/// Google and others at 169.254.0.0/16, AWS and Google over IPv6, Alibaba, Azure's wire server and
/// Oracle's older address; also when they hide inside IPv4-mapped, NAT64 or 6to4 addresses.
pub fn is_forbidden(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
                || v4 == Ipv4Addr::new(168, 63, 129, 16)
                || v4 == Ipv4Addr::new(192, 0, 0, 192)
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
                || v6 == Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

/// The IPv4 address inside an IPv6 one, if there is one (RFC 4291 §2.5.5, 6052, 3056).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let embedded = match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some((g, h)),
        (0, 0, 0, 0, 0, 0) if g != 0 => Some((g, h)),
        (0x2002, ..) => Some((b, c)),
        _ => None,
    };
    match embedded {
        Some((high, low)) => IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))),
        None => address,
    }
}

fn is_inside(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (address, net) {
        (IpAddr::V4(address), IpAddr::V4(net)) => {
            let shift = 32 - u32::from(bits.min(32));
            let cut = |ip: Ipv4Addr| u32::from(ip).checked_shr(shift).unwrap_or(0);
            cut(address) == cut(net)
        }
        (IpAddr::V6(address), IpAddr::V6(net)) => {
            let shift = 128 - u32::from(bits.min(128));
            let cut = |ip: Ipv6Addr| u128::from(ip).checked_shr(shift).unwrap_or(0);
            cut(address) == cut(net)
        }
        _ => false,
    }
}

/// The address that a URL's host writes out. The URL parser has already turned odd forms such as
/// `0x7f000001`, `017700000001` and `2130706433` into dotted ones.
pub fn literal(host: &str) -> Option<IpAddr> {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

fn rule(entry: &str) -> Result<Rule, String> {
    let wrong =
        || format!("`allow` has \"{entry}\", which is no host, host:port, *.domain or network");
    if let Some((net, bits)) = entry.split_once('/') {
        let net: IpAddr = net.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let longest = if net.is_ipv4() { 32 } else { 128 };
        return match bits <= longest {
            true => Ok(Rule::Net {
                net,
                bits,
                port: None,
            }),
            false => Err(wrong()),
        };
    }
    let (host, port) = split_port(entry).ok_or_else(wrong)?;
    if let Some(net) = literal(host) {
        let bits = if net.is_ipv4() { 32 } else { 128 };
        return Ok(Rule::Net { net, bits, port });
    }
    name_rule(host, port).ok_or_else(wrong)
}

fn split_port(entry: &str) -> Option<(&str, Option<u16>)> {
    if entry.parse::<IpAddr>().is_ok() {
        return Some((entry, None));
    }
    match entry.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((entry, None)),
    }
}

fn name_rule(host: &str, port: Option<u16>) -> Option<Rule> {
    let below = host.starts_with("*.");
    let host = if below { &host[1..] } else { host };
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
    let good = !host.is_empty() && host.chars().all(plain);
    good.then(|| Rule::Name {
        host: host.to_ascii_lowercase(),
        below,
        port,
    })
}
