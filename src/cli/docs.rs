//! `vigie docs`

use std::path::PathBuf;

use clap::Args;

use super::report;
use crate::error::Exit;
use crate::storm::Kind;
use crate::{host, script, source};

/// Write the editor definitions of every word, and a page of them for people.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vigie docs definitions/")]
pub(super) struct Docs {
    /// The folder to write into; made if it is missing
    folder: PathBuf,
}

impl Docs {
    pub(super) fn run(self) -> Exit {
        match self.write() {
            Ok(files) => {
                report::line(&format!("{files} files in {}", self.folder.display()));
                Exit::Ok
            }
            Err(why) => {
                report::sentence(&format!("cannot write {}: {why}", self.folder.display()));
                Exit::Failed
            }
        }
    }

    fn write(&self) -> std::io::Result<usize> {
        std::fs::create_dir_all(&self.folder)?;
        let mut modules: Vec<&str> = host::words().iter().map(|word| word.module).collect();
        modules.sort_unstable();
        modules.dedup();
        for module in &modules {
            let name = if module.is_empty() { "vigie" } else { module };
            std::fs::write(
                self.folder.join(format!("{name}.d.rhai")),
                definitions(module),
            )?;
        }
        std::fs::write(self.folder.join("words.md"), page())?;
        Ok(modules.len() + 1)
    }
}

/// One module in the form that Rhai's editors read.
fn definitions(module: &str) -> String {
    let mut text = match module {
        "" => "module static;\n".to_owned(),
        module => format!("module {module};\n"),
    };
    for word in host::words().iter().filter(|word| word.module == module) {
        for count in word.arguments_min()..=word.arguments.len() {
            let names: Vec<String> = word.arguments[..count]
                .iter()
                .map(|argument| format!("{}: ?", argument.name))
                .collect();
            text.push_str(&format!(
                "\n/// {}\n///\n/// `{}`\n",
                word.about, word.example
            ));
            text.push_str(&format!("fn {}({}) -> ?;\n", word.name, names.join(", ")));
        }
    }
    if module.is_empty() {
        for word in script::ALL.iter().flat_map(|words| words.words()) {
            let names: Vec<&str> = word
                .arguments
                .split(", ")
                .filter(|name| !name.is_empty())
                .collect();
            let typed: Vec<String> = names.iter().map(|name| format!("{name}: ?")).collect();
            text.push_str(&format!(
                "\n/// {}\n///\n/// `{}`\n",
                word.about, word.example
            ));
            text.push_str(&format!("fn {}({}) -> ?;\n", word.name, typed.join(", ")));
        }
    }
    text
}

/// All words, the kinds of storm control and all kinds of sources as Markdown.
fn page() -> String {
    let mut text =
        String::from("# Words of a flow\n\n| word | what it does | example |\n|---|---|---|\n");
    let cell = |text: &str| text.replace('|', "\\|");
    for word in host::words() {
        text.push_str(&format!(
            "| `{}` | {} | `{}` |\n",
            word.signature(),
            cell(word.about),
            cell(word.example)
        ));
    }
    for word in script::ALL.iter().flat_map(|words| words.words()) {
        let call = format!("{}({})", word.name, word.arguments);
        text.push_str(&format!(
            "| `{call}` | {} | `{}` |\n",
            cell(word.about),
            cell(word.example)
        ));
    }
    text.push_str("\n# Storm control of a flow\n\nBeside the script, in the order in which an event meets them:\n");
    for kind in Kind::ALL {
        text.push_str(&format!(
            "\n`{}`: {}\n```toml\n[storm]\n{}\n```\n",
            kind.word(),
            kind.about(),
            kind.example()
        ));
    }
    text.push_str("\n# Sources of a channel\n");
    for kind in source::ALL {
        text.push_str(&format!(
            "\n`{}`: {}\n```toml\n[[source]]\nkind = \"{0}\"\n{}\n```\n",
            kind.name(),
            kind.about(),
            kind.example()
        ));
    }
    text
}
