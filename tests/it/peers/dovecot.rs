//! A real Dovecot with one mailbox; mails are laid into its Maildir. Needs root, to give the
//! mailbox to the user that Dovecot reads it as.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::{Peer, connect, free_port, need, on_free_port};

/// Who has the mailbox, and the password.
pub const USER: &str = "alerts@example.test";
pub const PASSWORD: &str = "s3cret \"quoted\" pass";
/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;
const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");

/// A Dovecot that runs, or rests.
pub struct Dovecot {
    peer: Option<Peer>,
    folder: TempDir,
    pub port: u16,
    pub tls_port: u16,
    delivered: AtomicU32,
}

impl Dovecot {
    /// With more lines of configuration; starts with an empty mailbox.
    pub fn with(more: &str) -> Dovecot {
        need("dovecot");
        assert!(
            rustix::process::geteuid().is_root(),
            "a mailbox for Dovecot can only be made by root"
        );
        on_free_port(|port| {
            let mut dovecot = Dovecot {
                peer: None,
                folder: tempfile::Builder::new()
                    .prefix("vigie-dovecot-")
                    .tempdir()
                    .unwrap(),
                port,
                tls_port: free_port(),
                delivered: AtomicU32::new(0),
            };
            dovecot.write(more);
            dovecot.start().map(|()| dovecot)
        })
    }

    fn write(&self, more: &str) {
        let folder = self.folder.path();
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(folder.join("run")).unwrap();
        for inside in ["mail", "mail/cur", "mail/new", "mail/tmp"] {
            std::fs::create_dir(folder.join(inside)).unwrap();
            chown(folder.join(inside), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        std::fs::write(
            folder.join("users"),
            format!("{USER}:{{PLAIN}}{PASSWORD}\n"),
        )
        .unwrap();
        let shown = folder.display();
        let (port, tls_port) = (self.port, self.tls_port);
        let text = format!(
            "base_dir = {shown}/run\nstate_dir = {shown}/run\nlog_path = /dev/stderr\n\
             protocols = imap\nlisten = 127.0.0.1\nssl = yes\n\
             ssl_cert = <{TLS}/server.pem\nssl_key = <{TLS}/server.key\n\
             disable_plaintext_auth = no\nauth_mechanisms = plain login\nauth_failure_delay = 0\n\
             mail_location = maildir:{shown}/mail\nmail_uid = nobody\nmail_gid = nogroup\n\
             first_valid_uid = 1\nfirst_valid_gid = 1\n\
             namespace inbox {{\n  inbox = yes\n}}\n\
             passdb {{\n  driver = passwd-file\n  args = {shown}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home={shown}/mail\n}}\n\
             service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = {port}\n  }}\n  \
             inet_listener imaps {{\n    port = {tls_port}\n    ssl = yes\n  }}\n}}\n\
             service anvil {{\n  chroot =\n}}\nservice stats {{\n  chroot =\n}}\n{more}\n"
        );
        std::fs::write(folder.join("dovecot.conf"), text).unwrap();
    }

    /// Starts it, again on the same ports.
    pub fn start(&mut self) -> Result<(), String> {
        let folder = self.folder.path();
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
        let mut peer = Peer::start("dovecot", &command, folder);
        let port = self.port;
        let up = peer.wait("the greeting", |_| greets(port).then_some(()));
        match up {
            Some(()) => {
                self.peer = Some(peer);
                Ok(())
            }
            None => Err(peer.log()),
        }
    }

    /// Ends it; the mailbox stays.
    pub fn stop(&mut self) {
        self.peer = None;
    }

    /// Lays a mail into the mailbox, as a mail server does.
    pub fn deliver(&self, mail: &[u8]) {
        self.lay("new", "", mail);
    }

    /// Lays in one that somebody has seen.
    pub fn deliver_seen(&self, mail: &[u8]) {
        self.lay("cur", ":2,S", mail);
    }

    fn lay(&self, inside: &str, flags: &str, mail: &[u8]) {
        let number = self.delivered.fetch_add(1, Ordering::SeqCst);
        let seconds = jiff::Timestamp::now().as_second();
        let name = format!("{seconds}.{number:06}.test");
        let temporary = self.folder.path().join("mail/tmp").join(&name);
        std::fs::write(&temporary, mail).unwrap();
        chown(&temporary, Some(NOBODY), Some(NOBODY)).unwrap();
        let place = self.folder.path().join("mail").join(inside);
        std::fs::rename(temporary, place.join(format!("{name}{flags}"))).unwrap();
    }

    /// Makes Dovecot forget how it numbered the mails; only while it rests.
    pub fn number_anew(&self) {
        assert!(self.peer.is_none());
        for name in names(&self.folder.path().join("mail")) {
            if name.starts_with("dovecot-uidlist") || name.starts_with("dovecot.index") {
                std::fs::remove_file(self.folder.path().join("mail").join(name)).unwrap();
            }
        }
    }

    /// The names of the mails in the mailbox, or in a folder of it; with their flags.
    pub fn mails(&self, folder: &str) -> Vec<String> {
        let place: PathBuf = self.folder.path().join("mail").join(folder);
        let mut found = names(&place.join("new"));
        found.extend(names(&place.join("cur")));
        found
    }

    /// Those that are marked as seen.
    pub fn seen(&self) -> usize {
        let mails = self.mails("");
        let is_seen = |name: &&String| name.split(",").last().unwrap().contains('S');
        mails.iter().filter(is_seen).count()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn greets(port: u16) -> bool {
    let Ok(stream) = connect(port) else {
        return false;
    };
    let mut line = String::new();
    let read = BufReader::new(stream).read_line(&mut line);
    read.is_ok() && line.starts_with("* OK")
}
