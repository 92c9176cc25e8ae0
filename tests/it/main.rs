//! Every test of the project, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod acting;
mod address_policy;
mod canopsis;
mod file_action;
mod http_action;
mod mail_action;
mod pagerduty;
mod redmine;
mod redmine_real;
