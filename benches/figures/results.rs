//! RESULTS.md and its picture.

use std::path::Path;

use super::Plan;
use super::picture;
use super::report::Report;

const HEAD: &str = "# Figures

`benches/compare` wrote this page: it installs the peers that it can, starts vigie and each of them on loopback, gives all the same work in
turns, and takes medians; ratios are taken within a turn. `benches/compare -h` tells more. Another machine gives other figures; on a shared one they
swing by a factor of two between runs, ratios less. What vigie did not reach says **no**.
";

/// Writes both into `folder`.
pub(crate) fn write(folder: &Path, plan: &Plan, (machine, report): (&str, &Report)) {
    let mut how = Vec::new();
    if plan.quick {
        how.push("few and short rounds (`--quick`)".to_owned());
    }
    if !plan.only.is_empty() {
        how.push(format!("only {}", plan.only.join(", ")));
    }
    let how = match how.is_empty() {
        true => String::new(),
        false => format!("{}.\n\n", how.join("; ")),
    };
    let text = format!(
        "{HEAD}\n{how}{machine}\n![how many times as good as each peer](compare.svg)\n\n{report}"
    );
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("RESULTS.md"), text).unwrap();
    std::fs::write(folder.join("compare.svg"), picture::draw(&report.figures)).unwrap();
    eprintln!(
        "written: RESULTS.md and compare.svg in {}",
        folder.display()
    );
}
