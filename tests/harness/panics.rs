//! What made a test fail, told when it happens.

use std::io::Write;
use std::panic::{set_hook, take_hook};
use std::sync::Once;
use std::thread::current;

/// So much of a message, in characters: a comparison may name thousands of rows.
const MOST: usize = 1000;

/// The tests of the harness itself, which make it panic.
const EXPECTED: &str = "harness_itself::";

/// From now on a panic is written to the standard error at once, too. The test's runner keeps it for its last lines,
/// hours of other tests later, and nobody sees it there who is shown a part of the output.
pub fn tell() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let of_the_runner = take_hook();
        set_hook(Box::new(move |panic| {
            let thread = current();
            let test = thread.name().unwrap_or("a thread without a name");
            if !test.starts_with(EXPECTED) {
                let message: String = panic.to_string().chars().take(MOST).collect();
                // The macros write to where the runner keeps it.
                writeln!(std::io::stderr(), "panic in {test}: {message}").ok();
            }
            of_the_runner(panic);
        }));
    });
}
