//! What is printed: a table of figures, and tables of detail under it.

use std::fmt;

/// One figure.
#[derive(Debug, Default)]
pub(crate) struct Figure {
    /// What was measured.
    pub what: String,
    /// Our value.
    pub ours: String,
    /// What it stands beside, and that value; empty where there is nothing beside it.
    pub peer: String,
    /// Ours to the peer's.
    pub ratio: String,
    /// How many times better ours is, below 1 if it is worse; what the picture shows.
    pub factor: Option<f64>,
    /// What it should be.
    pub aim: String,
    /// Whether it is; `None` where there is no aim.
    pub met: Option<bool>,
}

/// A table of detail.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Its heading.
    pub title: String,
    /// Its columns.
    pub columns: Vec<&'static str>,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// All that is printed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The figures.
    pub figures: Vec<Figure>,
    /// The tables under them.
    pub tables: Vec<Table>,
}

impl Report {
    /// Adds a figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        eprintln!("  {}: {} {}", figure.what, figure.ours, figure.ratio);
        self.figures.push(figure);
    }

    /// Adds a row for a peer that is not there.
    pub(crate) fn missing(&mut self, what: &str, peer: &str, why: &str) {
        self.add(Figure {
            what: what.to_owned(),
            peer: format!("{peer}: {why}"),
            ..Figure::default()
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.figures.is_empty() {
            let columns = ["figure", "vigie", "beside", "ratio", "aim", "met"];
            row(out, columns.iter())?;
            row(out, columns.iter().map(|_| "---"))?;
        }
        for figure in &self.figures {
            let met = match figure.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            let Figure {
                what,
                ours,
                peer,
                ratio,
                aim,
                ..
            } = figure;
            row(out, [what, ours, peer, ratio, aim, met].iter())?;
        }
        for table in &self.tables {
            writeln!(out, "\n{}\n", table.title)?;
            row(out, table.columns.iter())?;
            row(out, table.columns.iter().map(|_| "---"))?;
            for cells in &table.rows {
                row(out, cells.iter())?;
            }
        }
        Ok(())
    }
}

fn row(
    out: &mut fmt::Formatter<'_>,
    cells: impl Iterator<Item = impl fmt::Display>,
) -> fmt::Result {
    write!(out, "|")?;
    for cell in cells {
        write!(out, " {cell} |")?;
    }
    writeln!(out)
}

/// `12,345`
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
