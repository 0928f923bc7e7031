//! Numbers as text, in PostgreSQL's formats.

/// `1234 bytes`, `12 kB`, as pg_size_pretty() writes sizes.
pub fn pretty_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 10 * 1024 && unit + 1 < UNITS.len() {
        value = (value + 512) / 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}
