//! A real Nagios with one host and one service, told of their states from outside.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{Peer, need};

const OBJECTS: &str = "
define timeperiod {\n timeperiod_name 24x7\n alias always\n sunday 00:00-24:00\n monday 00:00-24:00\n tuesday 00:00-24:00
 wednesday 00:00-24:00\n thursday 00:00-24:00\n friday 00:00-24:00\n saturday 00:00-24:00\n}
define command {\n command_name dummy\n command_line /bin/true\n}
define host {\n host_name web01\n address 192.0.2.10\n check_command dummy\n active_checks_enabled 0
 max_check_attempts 1\n check_period 24x7\n contacts vigie\n notification_interval 60\n notification_period 24x7\n}
define service {\n host_name web01\n service_description HTTP\n check_command dummy\n active_checks_enabled 0
 max_check_attempts 1\n check_interval 5\n retry_interval 1\n check_period 24x7\n contacts vigie
 notification_interval 60\n notification_period 24x7\n}
";

/// A running Nagios.
pub struct Nagios {
    peer: Peer,
    folder: TempDir,
}

impl Nagios {
    /// With the commands and the contact `vigie` of `commands`.
    pub fn with(commands: &str) -> Nagios {
        need("nagios");
        let folder = open_folder("vigie-nagios-");
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("vigie.cfg"), commands).unwrap();
        std::fs::write(at("objects.cfg"), OBJECTS).unwrap();
        let config = format!(
            "log_file={}\ncfg_file={}\ncfg_file={}\nobject_cache_file={}\nstatus_file={}\nstate_retention_file={}\n\
             temp_file={}\ntemp_path=/tmp\ncheck_result_path={}\ncommand_file={}\nlock_file={}\nquery_socket={}\n\
             nagios_user=nagios\nnagios_group=nagios\ncheck_external_commands=1\nenable_notifications=1\n\
             illegal_macro_output_chars=`~$&|'\"<>\nillegal_object_name_chars=`~!$%^&*|'\"<>?,()=\n\
             event_broker_options=0\ncheck_for_updates=0\nuse_syslog=0\ndaemon_dumps_core=0\n",
            at("nagios.log.own"),
            at("vigie.cfg"),
            at("objects.cfg"),
            at("objects.cache"),
            at("status"),
            at("retention"),
            at("temp"),
            folder.path().display(),
            at("cmd"),
            at("lock"),
            at("query"),
        );
        std::fs::write(at("nagios.cfg"), config).unwrap();
        let mut command = Command::new("nagios4");
        command.arg(at("nagios.cfg"));
        let mut peer = Peer::start("nagios", &command, folder.path());
        let pipe = folder.path().join("cmd");
        let up = peer.wait("its command pipe", |_| pipe.exists().then_some(()));
        up.unwrap_or_else(|| panic!("Nagios ended:\n{}", peer.log()));
        Nagios { peer, folder }
    }

    /// Gives it a command as a plugin or its web page would.
    pub fn tell(&self, line: &str) {
        tell(&self.folder.path().join("cmd"), line);
    }

    /// What it said.
    pub fn log(&self) -> String {
        let own = std::fs::read_to_string(self.folder.path().join("nagios.log.own"));
        format!("{}{}", self.peer.log(), own.unwrap_or_default())
    }
}

/// A folder that a daemon may use which gives up being root.
pub(super) fn open_folder(prefix: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), all).unwrap();
    folder
}

/// Writes a line with the time into a command pipe.
pub(super) fn tell(pipe: &Path, line: &str) {
    let now = jiff::Timestamp::now().as_second();
    let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
    pipe.write_all(format!("[{now}] {line}\n").as_bytes())
        .unwrap();
}
