//! One after another for the same name, side by side for different ones.
//!
//! PagerDuty wants events of one routing key in order; Redmine has no uniqueness, so two `open`
//! with the same key must not both look before either creates. Held for requests, never for waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Names above which forgotten ones are swept out.
const SWEEP_ABOVE: usize = 1_024;

/// A lock per name, forgotten when nobody holds or awaits it.
#[derive(Debug, Default)]
pub struct Turns {
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits until it is our turn for `name`; the turn ends when the guard is dropped. Waiters are
    /// served in the order in which they came.
    pub async fn take(&self, name: &str) -> OwnedMutexGuard<()> {
        self.lock(name).lock_owned().await
    }

    fn lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > SWEEP_ABOVE {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        if let Some(lock) = locks.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
