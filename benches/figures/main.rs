//! Every figure that README states, beside what it is compared with, measured in one run.
//!
//! `cargo bench --bench figures` prints Markdown. `-- --only accept,send` takes some parts,
//! `-- --quick` fewer rounds. What a peer needs that is not installed becomes a row that says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod accept;
mod house;
mod idle;
mod load;
mod machine;
mod path;
mod rabbit;
mod raw;
mod report;
mod send;
mod size;
mod statistics;
mod traps;
mod waits;

use report::Report;

/// How much is measured.
#[derive(Debug, Clone)]
struct Plan {
    /// Parts that are wanted; empty means all.
    only: Vec<String>,
    quick: bool,
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
        }
    }

    /// `whole`, or `short` when there is little time.
    fn pick<T>(&self, whole: T, short: T) -> T {
        if self.quick { short } else { whole }
    }
}

/// A part by its name for `--only`.
type Part = (&'static str, fn(&Plan, &mut Report));

const PARTS: &[Part] = &[
    ("size", size::measure),
    ("idle", idle::measure),
    ("send", send::measure),
    ("accept", accept::measure),
    ("path", path::measure),
    ("waits", waits::measure),
    ("traps", traps::measure),
];

fn main() {
    let plan = Plan::from_arguments();
    let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = plan
        .only
        .iter()
        .find(|only| !names.contains(&only.as_str()))
    {
        eprintln!(
            "there is no part `{unknown}`; there are {}",
            names.join(", ")
        );
        std::process::exit(64);
    }
    let before = machine::load();
    let mut report = Report::default();
    for (name, measure) in PARTS {
        if plan.only.is_empty() || plan.only.iter().any(|only| only == name) {
            eprintln!("measuring: {name}");
            measure(&plan, &mut report);
        }
    }
    println!("{}", machine::describe(&before));
    println!("{report}");
}
