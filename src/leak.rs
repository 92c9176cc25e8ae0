//! What a step leaves behind. The language frees nothing that holds itself (`let f = || x; x.me = f`
//! makes such a ring), so each step of such a script costs memory until the process ends.
//!
//! Invariant: one version of a script leaves at most about [`LEAKED_BYTES_MAX`] behind; after that
//! it does not think any more, and its runs fail with a sentence that says why. What a step asks
//! for, prints and gives is allowed for generously, so that only what surely stayed is counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::event::Value;
use crate::memory;
use crate::script::pattern;

/// What one version of a script may leave behind, in bytes, before it is refused.
pub const LEAKED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Less than this after one step is no leak: something was kept for later.
const LEAKED_BYTES_MIN: isize = 4 * 1024;
/// What a map takes even if it has one entry.
const MAP_BYTES: usize = 1024;

static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// What all scripts left behind since the process began, in bytes.
pub fn total() -> usize {
    TOTAL.load(Ordering::Relaxed)
}

/// What one version of a script left behind.
#[derive(Debug, Default)]
pub struct Leaked(AtomicUsize);

impl Leaked {
    /// In bytes.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The sentence for people once it is too much.
    pub fn refusal(&self) -> Option<String> {
        (self.bytes() >= LEAKED_BYTES_MAX).then(|| {
            format!(
                "this version of the script left {} MiB behind in closures that hold themselves (`let f = || x; x.f = f`); change it",
                self.bytes() / (1024 * 1024)
            )
        })
    }
}

/// The memory of this thread when a step began.
pub(crate) struct Scale(isize);

impl Scale {
    /// To be called before anything of the step is made.
    pub(crate) fn begin() -> Scale {
        Scale(memory::live_bytes())
    }

    /// To be called when everything of the step is dropped but what is `allowed`, in bytes.
    pub(crate) fn end(self, allowed: isize, (script, leaked): (&str, &Leaked)) {
        if self.left(allowed) < LEAKED_BYTES_MIN {
            return;
        }
        // Compiled patterns are kept for later, and are no leak.
        pattern::forget();
        let left = self.left(allowed);
        if left < LEAKED_BYTES_MIN {
            return;
        }
        let bytes = usize::try_from(left).unwrap_or(0);
        leaked.0.fetch_add(bytes, Ordering::Relaxed);
        TOTAL.fetch_add(bytes, Ordering::Relaxed);
        tracing::warn!(
            script,
            bytes,
            "a step left memory behind that is never freed"
        );
    }

    fn left(&self, allowed: isize) -> isize {
        memory::live_bytes().wrapping_sub(self.0) - allowed
    }
}

/// More than `value` takes, in bytes.
pub(crate) fn generous(value: &Value) -> isize {
    isize::try_from(2 * weight(value)).unwrap_or(isize::MAX / 4)
}

fn weight(value: &Value) -> usize {
    const EACH: usize = 2 * size_of::<Value>();
    let inside = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(map) => {
            let entry = |(name, value): (&String, &Value)| EACH + name.len() + weight(value);
            MAP_BYTES + map.iter().map(entry).sum::<usize>()
        }
        Value::Secret(parts) => EACH * (1 + parts.len()),
        // Bytes are shared with whoever has them, or were counted with what they came in.
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    EACH + inside
}
