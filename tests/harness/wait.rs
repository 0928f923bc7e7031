//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// How long a condition may take on a busy two-core machine before a test fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// The intervals at which a condition is checked: a quarter of the time that it has taken, between these two. What comes
/// soon is seen soon, and what takes long does not pay for a connection every few milliseconds.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);

/// Waits until `condition` is true, for three minutes at most; then panics with `what`.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, condition);
}

/// [`wait_until`] with another limit.
pub fn wait_until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        let waited = start.elapsed();
        assert!(
            waited < patience,
            "waited {patience:?} in vain until {what}"
        );
        std::thread::sleep((waited / 4).clamp(SHORTEST, LONGEST));
    }
}
