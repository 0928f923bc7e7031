//! What a run of the tests leaves out, so that nobody takes it for passed: `make test` counts and names what is
//! written to the file `SKIPPED_TESTS`.

use std::fs::OpenOptions;
use std::io::Write;

/// Says that the running test ends here, and why.
pub fn skipped(why: &str) {
    note("whole", why);
}

/// Says that the running test leaves a part out, and why.
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
