//! Waiting for a condition instead of for a time.

use std::time::{Duration, Instant};

/// How long a condition may take on a busy two-core machine before a test fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// The interval at which a condition is checked.
const INTERVAL: Duration = Duration::from_millis(30);

/// Waits until `condition` is true, for three minutes at most; then panics with `what`.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, condition);
}

/// [`wait_until`] with another limit.
pub fn wait_until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain until {what}"
        );
        std::thread::sleep(INTERVAL);
    }
}
