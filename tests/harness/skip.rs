//! Skipped tests are recorded, so that they do not count as passed: `make test` counts and lists those in the file
//! `SKIPPED_TESTS`.

use std::fs::OpenOptions;
use std::io::Write;

/// Records that the running test is skipped from here on, and why.
pub fn skipped(why: &str) {
    note("whole", why);
}

/// Records that the running test leaves out a part, and why.
pub fn skipped_in_part(why: &str) {
    note("part", why);
}

fn note(how_much: &str, why: &str) {
    println!("skipped: {why}");
    let Some(path) = std::env::var_os("SKIPPED_TESTS") else {
        return;
    };
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("a test");
    let version = std::env::var("PGVER").unwrap_or_default();
    let file = OpenOptions::new().append(true).create(true).open(path);
    // One write, so that lines of tests that run at once do not mix.
    let line = format!("{how_much} {name} on {version} ({why})\n");
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the list of skipped tests can be written");
}
