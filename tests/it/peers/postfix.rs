//! A real Postfix with a queue and aliases of its own; needs root, as every Postfix does.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Peer, connect, need, on_free_port, run};
use crate::house::PATIENCE;

const MASTER: &str = "/usr/lib/postfix/sbin/master";
/// Debian's list of Postfix's services, made to run without a jail and on one port.
const SERVICES: &str = "/usr/share/postfix/master.cf.dist";

/// A running Postfix.
pub struct Postfix {
    _peer: Peer,
    folder: TempDir,
    port: u16,
}

impl Postfix {
    /// Delivers mail for each alias, at `example.test`, to its command; as `nobody`, as Postfix
    /// does for aliases of the system.
    pub fn with_aliases(aliases: &[(&str, &str)]) -> Postfix {
        need("postfix");
        assert!(
            rustix::process::geteuid().is_root(),
            "Postfix can only be started by root"
        );
        on_free_port(|port| Postfix::on(port, aliases))
    }

    fn on(port: u16, aliases: &[(&str, &str)]) -> Result<Postfix, String> {
        let folder = tempfile::Builder::new()
            .prefix("vigie-postfix-")
            .tempdir()
            .unwrap();
        let etc = write(folder.path(), port, aliases);
        run(Command::new("postalias")
            .arg("-c")
            .arg(&etc)
            .arg(aliases_map(&etc)));
        run(Command::new("postfix").arg("-c").arg(&etc).arg("check"));
        // in the foreground
        let mut master = Command::new(MASTER);
        master
            .arg("-c")
            .arg(&etc)
            .arg("-s")
            .env("MAIL_CONFIG", &etc);
        let mut peer = Peer::start("postfix", &master, folder.path());
        let up = peer.wait("a greeting", |_| Smtp::greeted(port).ok());
        up.ok_or_else(|| {
            format!(
                "{}\n{}",
                peer.log(),
                std::fs::read_to_string(folder.path().join("mail.log")).unwrap_or_default()
            )
        })?;
        Ok(Postfix {
            _peer: peer,
            folder,
            port,
        })
    }

    /// Hands in a mail by SMTP.
    pub fn mail(&self, to: &[&str], text: &str) {
        let mut smtp = Smtp::greeted(self.port).unwrap();
        smtp.say("EHLO monitor.example.test", "250");
        smtp.say("MAIL FROM:<zabbix@example.test>", "250");
        for recipient in to {
            smtp.say(&format!("RCPT TO:<{recipient}>"), "250");
        }
        smtp.say("DATA", "354");
        smtp.say(&format!("{}\r\n.", text.replace('\n', "\r\n")), "250");
        smtp.say("QUIT", "221");
    }

    /// Tries what waits in the queue now.
    pub fn flush(&self) {
        run(Command::new("postqueue")
            .arg("-c")
            .arg(self.folder.path().join("etc"))
            .arg("-f"));
    }

    /// The mail log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("mail.log")).unwrap_or_default()
    }

    /// How many deliveries ended in this way: `sent`, `deferred`, `bounced`.
    pub fn deliveries(&self, status: &str) -> usize {
        self.log().matches(&format!("status={status} ")).count()
    }
}

fn aliases_map(etc: &Path) -> String {
    format!("hash:{}", etc.join("aliases").display())
}

fn write(folder: &Path, port: u16, aliases: &[(&str, &str)]) -> std::path::PathBuf {
    // its own users must come in
    std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let etc = folder.join("etc");
    for inside in ["etc", "spool", "data"] {
        std::fs::create_dir(folder.join(inside)).unwrap();
        std::fs::set_permissions(folder.join(inside), Permissions::from_mode(0o755)).unwrap();
    }
    run(Command::new("chown")
        .arg("postfix")
        .arg(folder.join("data")));
    let line = |(name, command): &(&str, &str)| format!("{name}: \"|{command}\"\n");
    std::fs::write(
        etc.join("aliases"),
        aliases.iter().map(line).collect::<String>(),
    )
    .unwrap();
    std::fs::write(etc.join("master.cf"), services(port)).unwrap();
    let shown = folder.display();
    let main = format!(
        "compatibility_level = 3.6\n\
         myhostname = mx.example.test\n\
         mydestination = localhost, example.test\n\
         mynetworks = 127.0.0.0/8\n\
         inet_interfaces = loopback-only\n\
         inet_protocols = ipv4\n\
         config_directory = {shown}/etc\n\
         queue_directory = {shown}/spool\n\
         data_directory = {shown}/data\n\
         command_directory = /usr/sbin\n\
         daemon_directory = /usr/lib/postfix/sbin\n\
         shlib_directory = /usr/lib/postfix\n\
         mail_owner = postfix\n\
         setgid_group = postdrop\n\
         alias_maps = {map}\n\
         alias_database = {map}\n\
         local_recipient_maps = $alias_maps\n\
         default_privs = nobody\n\
         recipient_delimiter = +\n\
         maillog_file = {shown}/mail.log\n\
         maillog_file_prefixes = {shown}\n\
         default_transport = error:nothing leaves this host\n\
         relay_transport = error:nothing leaves this host\n\
         notify_classes =\n\
         command_time_limit = 60s\n\
         biff = no\n",
        map = aliases_map(&etc),
    );
    std::fs::write(etc.join("main.cf"), main).unwrap();
    etc
}

/// One line per service: name, type, private, unprivileged, chroot, wakeup, processes, command.
fn services(port: u16) -> String {
    let list = std::fs::read_to_string(SERVICES).unwrap();
    let mut services = String::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let mut fields: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if line.starts_with([' ', '\t']) || fields.len() < 8 {
            services.push_str(line);
        } else {
            if fields[..2] == ["smtp", "inet"] {
                fields[0] = format!("127.0.0.1:{port}");
            }
            fields[4] = "n".to_owned();
            services.push_str(&fields.join(" "));
        }
        services.push('\n');
    }
    services
}

/// A mail client, just enough.
struct Smtp {
    stream: BufReader<TcpStream>,
}

impl Smtp {
    fn greeted(port: u16) -> std::io::Result<Smtp> {
        let stream = BufReader::new(connect(port)?);
        let mut smtp = Smtp { stream };
        let greeting = smtp.answer();
        smtp.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
        if greeting.starts_with("220 mx.example.test ") {
            return Ok(smtp);
        }
        Err(std::io::Error::other(greeting))
    }

    fn say(&mut self, line: &str, expected: &str) {
        write!(self.stream.get_mut(), "{line}\r\n").unwrap();
        let answer = self.answer();
        assert!(answer.starts_with(expected), "{line}: {answer}");
    }

    /// The last line of an answer.
    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).unwrap_or(0);
            if read == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }
}
