//! What people write: every file of a house that is TOML, read as each of them.

use std::path::Path;

use vigie::config::ChannelSettings;
use vigie::document;
use vigie::error::Diagnostic;
use vigie::flow::FlowSettings;
use vigie::settings::Settings;

/// A text is read or refused with a picture, whatever it was meant to be.
pub fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let shown = Path::new("settings.toml");
    told(document::parse::<Settings>(text, shown));
    told(document::parse::<ChannelSettings>(text, shown));
    told(document::parse::<FlowSettings>(text, shown));
}

fn told<T>(read: Result<T, Diagnostic>) {
    if let Err(mistake) = read {
        let picture = mistake.to_string();
        assert!(picture.contains("settings.toml"), "{picture}");
    }
}
