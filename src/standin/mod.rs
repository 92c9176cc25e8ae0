//! Stand-ins: small servers on loopback that behave like Redmine, PagerDuty, Canopsis,
//! InfluxDB and an SMTP relay, for `vigie demo` and for tests. They are not the real products.
//!
//! Invariant: they follow the products' documented and recorded behaviour and know nothing of our
//! own actions, so they can prove them wrong. Each records every request and can misbehave.

pub mod canopsis;
pub mod influxdb;
pub mod pagerduty;
pub mod redmine;
mod server;
pub mod smtp;

pub use canopsis::Canopsis;
pub use influxdb::InfluxDb;
pub use pagerduty::PagerDuty;
pub use redmine::Redmine;
pub use server::{Mischief, Reply, Seen, Server};
pub use smtp::Smtp;
