//! From the settings to services that actions can use: secrets read, addresses checked.

use crate::action::{self, Services, http};
use crate::config::House;
use crate::error::Diagnostic;

/// Prepares every service that the settings name.
///
/// # Errors
/// Every section that cannot be used, with its reason.
pub fn services(house: &House) -> Result<Services, Vec<Diagnostic>> {
    let mut mistakes = Vec::new();
    let settings = &house.settings;
    let base = house.base.as_path();
    let services = Services {
        http: prepare("http", Some(()), &mut mistakes, |()| {
            let proxy = settings.proxy.clone();
            http::Client::prepare(http::Settings {
                allow: settings.http.allow.clone(),
                proxy,
            })
        })
        .unwrap_or_default(),
        redmine: prepare(
            "redmine",
            settings.redmine.clone(),
            &mut mistakes,
            |settings| action::redmine::Service::prepare(settings, base),
        ),
        pagerduty: prepare(
            "pagerduty",
            settings.pagerduty.clone(),
            &mut mistakes,
            |settings| action::pagerduty::Service::prepare(settings, base),
        ),
        canopsis: prepare(
            "canopsis",
            settings.canopsis.clone(),
            &mut mistakes,
            |settings| action::canopsis::Service::prepare(settings, base),
        ),
        influxdb: prepare(
            "influxdb",
            settings.influxdb.clone(),
            &mut mistakes,
            |settings| action::influxdb::Service::prepare(settings, base),
        ),
        smtp: prepare("smtp", settings.smtp.clone(), &mut mistakes, |settings| {
            action::mail::Service::prepare(settings, base)
        }),
        amqp: prepare("amqp", settings.amqp.clone(), &mut mistakes, |settings| {
            action::amqp::Service::prepare(settings, base)
        }),
        file: prepare("file", settings.file.clone(), &mut mistakes, |settings| {
            action::file::Service::prepare(settings, base)
        }),
    };
    for plan in &house.sources {
        if let Err(why) = plan.door.check(&services.http) {
            mistakes.push(Diagnostic::new(format!("source `{}`: {why}", plan.id())));
        }
    }
    if mistakes.is_empty() {
        Ok(services)
    } else {
        Err(mistakes)
    }
}

fn prepare<S, T>(
    section: &str,
    settings: Option<S>,
    mistakes: &mut Vec<Diagnostic>,
    prepare: impl FnOnce(S) -> Result<T, String>,
) -> Option<T> {
    match prepare(settings?) {
        Ok(service) => Some(service),
        Err(why) => {
            mistakes.push(Diagnostic::new(format!("[{section}]: {why}")));
            None
        }
    }
}
