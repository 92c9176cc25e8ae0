//! How large the release binaries are.

use std::path::Path;

use super::Plan;
use super::house::{SENDEVT, VIGIE, file_bytes};
use super::report::{Figure, Report};

/// Bytes that `vigie` may have.
const VIGIE_BYTES_MAX: u64 = 20_000_000;

pub(crate) fn measure(_: &Plan, report: &mut Report) {
    let vigie = file_bytes(Path::new(VIGIE));
    report.add(Figure {
        what: "size of the release binary `vigie`, stripped".to_owned(),
        ours: megabytes(vigie),
        aim: "≤ 20 MB".to_owned(),
        met: Some(vigie <= VIGIE_BYTES_MAX),
        ..Figure::default()
    });
    report.add(Figure {
        what: "size of the release binary `sendevt`, stripped".to_owned(),
        ours: megabytes(file_bytes(Path::new(SENDEVT))),
        ..Figure::default()
    });
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
