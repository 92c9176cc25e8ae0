//! `secret("name")`: a secret that a script can hand on but never see.
//!
//! What a script holds is the name. Joined with text it stays opaque; printed or compared it is
//! three stars; the real text is put in when an action is performed.

use rhai::Engine;

use super::{Word, Words};
use crate::event::SecretPart;

/// Text with secrets in it, as a script holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretText(pub Vec<SecretPart>);

/// The theme.
pub struct Secrets;

impl Words for Secrets {
    fn words(&self) -> &'static [Word] {
        const WORDS: &[Word] = &[Word {
            name: "secret",
            arguments: "name",
            about: "a secret of settings.toml [secret], to hand to an action; it cannot be looked at",
            example: r#"type_of(secret("team_a_routing_key")) == "secret""#,
        }];
        WORDS
    }

    fn register(&self, engine: &mut Engine) {
        engine
            .register_type_with_name::<SecretText>("secret")
            .register_fn("secret", |name: &str| {
                SecretText(vec![SecretPart::Name(name.to_owned())])
            })
            .register_fn("to_string", |_: &mut SecretText| "***".to_owned())
            .register_fn("to_debug", |_: &mut SecretText| "***".to_owned())
            .register_fn("+", |text: &str, secret: SecretText| {
                join(vec![SecretPart::Text(text.to_owned())], secret.0)
            })
            .register_fn("+", |secret: SecretText, text: &str| {
                join(secret.0, vec![SecretPart::Text(text.to_owned())])
            })
            .register_fn("+", |one: SecretText, other: SecretText| {
                join(one.0, other.0)
            });
    }
}

fn join(mut first: Vec<SecretPart>, second: Vec<SecretPart>) -> SecretText {
    first.extend(second);
    SecretText(first)
}
