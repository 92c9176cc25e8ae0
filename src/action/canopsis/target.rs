//! What an alarm is about: a component, and mostly a resource of it.
//!
//! `verb("web01", "HTTP", #{…})`, `verb("web01", #{…})` and `verb(#{ component, resource, … })`
//! all name it.

use crate::action::arguments::{Options, wrong};
use crate::action::{Call, Failure};
use crate::event::Value;

/// A component or a resource of it, with the options that came along.
pub(super) struct Target<'a> {
    pub(super) component: String,
    pub(super) resource: Option<String>,
    pub(super) options: Options<'a>,
}

impl<'a> Target<'a> {
    /// Reads the arguments of a verb that knows `options` besides the names.
    ///
    /// # Errors
    /// Refuses a blank component, unknown options and wrong types.
    pub(super) fn read(call: &Call<'a>, options: &[&str]) -> Result<Target<'a>, Failure> {
        let first = call.argument(0);
        if matches!(first, Value::Map(_)) {
            let known: Vec<&str> = options
                .iter()
                .copied()
                .chain(["component", "resource"])
                .collect();
            return Target::named(Options::new(first, &known)?);
        }
        let (resource, more) = match call.argument(1) {
            map @ Value::Map(_) => (None, map),
            Value::Null => (None, call.argument(2)),
            Value::Text(text) => (Some(text.clone()), call.argument(2)),
            other => return Err(wrong("resource", "text", other)),
        };
        let component = call.text(0, "component")?.to_owned();
        let options = Options::new(more, options)?;
        Target {
            component,
            resource,
            options,
        }
        .checked()
    }

    /// The same from a map that holds the names.
    pub(super) fn named(options: Options<'a>) -> Result<Target<'a>, Failure> {
        let component = options.required_text("component")?;
        let resource = options.text("resource")?;
        Target {
            component,
            resource,
            options,
        }
        .checked()
    }

    /// `resource/component` or `component`, as Canopsis names entities.
    pub(super) fn entity(&self) -> String {
        match &self.resource {
            Some(resource) => format!("{resource}/{}", self.component),
            None => self.component.clone(),
        }
    }

    fn checked(mut self) -> Result<Target<'a>, Failure> {
        self.resource = self.resource.filter(|resource| !resource.trim().is_empty());
        match self.component.trim().is_empty() {
            true => Err(Failure::refused("`component` is missing or blank")),
            false => Ok(self),
        }
    }
}
