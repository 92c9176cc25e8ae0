//! The machine on which it was measured.

use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line of `text` that begins with `name`.
fn value(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(
        || "unknown".to_owned(),
        |(_, value)| value.trim().to_owned(),
    )
}

/// The load of the last minute.
pub(crate) fn load() -> String {
    read("/proc/loadavg")
        .split(' ')
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// A few lines about it.
pub(crate) fn describe(load_before: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory: f64 = value(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0.0);
    let rustc = Command::new(option_env!("RUSTC").unwrap_or("rustc"))
        .arg("-V")
        .output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!(
        "{}: {cores} cores ({}), {:.0} GiB of memory, {}, Linux {}, {}, vigie {}; load {} before, {} after\n",
        jiff::Zoned::now().date(),
        value(&read("/proc/cpuinfo"), "model name"),
        memory / 1024.0 / 1024.0,
        disk(),
        read("/proc/sys/kernel/osrelease").trim(),
        rustc.unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        load_before,
        load(),
    )
}

/// The disk under the folder in which everything is measured.
fn disk() -> String {
    let here = super::house::scratch_root();
    let mounts = read("/proc/mounts");
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?, words.next()?))
        })
        .filter(|(_, at, _)| here.starts_with(at))
        .max_by_key(|(_, at, _)| at.len());
    let Some((device, _, kind)) = mount else {
        return "an unknown disk".to_owned();
    };
    let name = Path::new(device)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let virtual_disk = if name.starts_with("vd") {
        "virtual "
    } else {
        ""
    };
    format!("{kind} on a {virtual_disk}disk ({device})")
}
