//! Every figure that README states, beside what it is compared with, measured in one run.
//!
//! `benches/compare` installs the peers and runs this. `cargo bench --bench figures` alone prints
//! Markdown with those that are there. `-- --only accept,e` takes some parts, by name or letter;
//! `-- --quick` fewer rounds; `-- --write FOLDER` puts RESULTS.md and compare.svg there. What is not
//! installed becomes a row that says so, and so does a part that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod accept;
mod broker;
mod brokers;
mod centreon;
mod depth;
mod hooks;
mod house;
mod idle;
mod load;
mod machine;
mod path;
mod peer;
mod peers;
mod picture;
mod pump;
mod raw;
mod react;
mod report;
mod results;
mod send;
mod sink;
mod size;
mod start;
mod statistics;
mod steps;
mod storm;
mod traps;
mod waits;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use report::Report;

/// How much is measured.
#[derive(Debug, Clone)]
struct Plan {
    /// Parts that are wanted; empty means all.
    only: Vec<String>,
    quick: bool,
    /// Where the results go; nowhere if not given.
    write: Option<PathBuf>,
}

impl Plan {
    fn from_arguments() -> Plan {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let after = |name: &str| {
            let place = arguments.iter().position(|argument| argument == name)?;
            arguments.get(place + 1).cloned()
        };
        let only = after("--only").unwrap_or_default();
        Plan {
            only: only
                .split(',')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
            quick: arguments.iter().any(|argument| argument == "--quick"),
            write: after("--write").map(PathBuf::from),
        }
    }

    /// `whole`, or `short` when there is little time.
    fn pick<T>(&self, whole: T, short: T) -> T {
        if self.quick { short } else { whole }
    }
}

/// A part: its letter in the list of work, its name for `--only`, what it does.
struct Part(&'static str, &'static str, fn(&Plan, &mut Report));

const PARTS: &[Part] = &[
    Part("", "size", size::measure),
    Part("a", "accept", accept::measure),
    Part("b", "react", react::measure),
    Part("c", "start", start::measure),
    Part("c", "idle", idle::measure),
    Part("d", "depth", depth::measure),
    Part("e", "traps", traps::measure),
    Part("f", "send", send::measure),
    Part("g", "centreon", centreon::measure),
    Part("h", "waits", waits::measure),
    Part("h", "steps", steps::measure),
    Part("", "storm", storm::measure),
    Part("", "pump", pump::measure),
    Part("", "path", path::measure),
];

impl Part {
    fn is_wanted(&self, plan: &Plan) -> bool {
        let mut only = plan.only.iter();
        plan.only.is_empty() || only.any(|only| only == self.0 || only == self.1)
    }

    /// What it found so far stays in the report even if it fails.
    fn run(&self, plan: &Plan, report: &mut Report) {
        eprintln!("measuring: {}", self.1);
        let began = Instant::now();
        let measured = catch_unwind(AssertUnwindSafe(|| (self.2)(plan, report)));
        if measured.is_err() {
            let why = "the measurement failed; what it said stands above the table";
            report.missing(&format!("part `{}`", self.1), "**failed**", why);
        }
        eprintln!("  {}: {:.0} s", self.1, began.elapsed().as_secs_f64());
    }
}

/// What the clients of a part run on, and its servers in this process.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn main() {
    let plan = Plan::from_arguments();
    let is_known = |only: &&String| PARTS.iter().any(|part| *only == part.0 || *only == part.1);
    if let Some(unknown) = plan.only.iter().find(|only| !is_known(only)) {
        let names: Vec<&str> = PARTS.iter().map(|part| part.1).collect();
        eprintln!(
            "there is no part `{unknown}`; there are {}, and letters a to h",
            names.join(", ")
        );
        std::process::exit(64);
    }
    let before = machine::load();
    let mut report = Report::default();
    for part in PARTS.iter().filter(|part| part.is_wanted(&plan)) {
        part.run(&plan, &mut report);
    }
    let machine = machine::describe(&before);
    println!("{machine}");
    println!("{report}");
    if let Some(folder) = &plan.write {
        results::write(folder, &plan, (&machine, &report));
    }
}
