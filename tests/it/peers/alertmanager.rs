//! A real Alertmanager that tells one webhook.

use std::process::Command;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Peer, answers, need};

/// A running Alertmanager.
pub struct Alertmanager {
    _peer: Peer,
    _folder: TempDir,
    url: String,
}

impl Alertmanager {
    /// Tells `webhook` of each group of alerts almost at once.
    pub fn telling(webhook: &str) -> Alertmanager {
        need("alertmanager");
        let folder = tempfile::Builder::new()
            .prefix("vigie-alertmanager-")
            .tempdir()
            .unwrap();
        let config = folder.path().join("alertmanager.yml");
        let text = format!(
            "route: {{ receiver: hook, group_by: [cluster], group_wait: 500ms, group_interval: 500ms, repeat_interval: 1h }}\n\
             receivers: [{{ name: hook, webhook_configs: [{{ url: \"{webhook}\", send_resolved: true }}] }}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.path={}",
                folder.path().join("data").display()
            ))
            // it says which port it got
            .args([
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ]);
        let mut peer = Peer::start("alertmanager", &command, folder.path());
        let url = peer.wait("the address", |peer| {
            let log = peer.log();
            let (_, rest) = log.split_once("msg=\"Listening on\" address=")?;
            let address = rest.lines().next().filter(|_| rest.contains('\n'))?;
            Some(format!("http://{}", address.trim()))
        });
        let url = url.unwrap_or_else(|| panic!("Alertmanager ended:\n{}", peer.log()));
        let ready = format!("{url}/-/ready");
        peer.wait("readiness", |_| answers(&ready));
        Alertmanager {
            _peer: peer,
            _folder: folder,
            url,
        }
    }

    /// Pushes alerts as Prometheus does.
    pub fn push(&self, alerts: &Json) {
        let request = ureq::post(format!("{}/api/v2/alerts", self.url));
        let request = request.header("content-type", "application/json");
        request.send(alerts.to_string().as_bytes()).unwrap();
    }
}
