//! Texts of the page.

use chrono::TimeDelta;

use archive::escape::percent_decode;
use archive::time::Time;

/// Text of the archive or the server, with what would turn the rest of the line around, or show nothing, spelled
/// out. What means something in HTML is maud's to escape.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{200e}'
            | '\u{200f}'
            | '\u{61c}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                shown.push_str(&format!("\\u{:04x}", character as u32));
            }
            '\n' | '\t' => shown.push(character),
            character if character.is_control() => {
                shown.push_str(&format!("\\x{:02x}", character as u32));
            }
            character => shown.push(character),
        }
    }
    shown
}

/// Bytes of the database's encoding as text: UTF-8, or each byte as it is in Latin 1.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        // The end was cut within a character.
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned()
        }
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// A percent-encoded name or text of the database, whatever its encoding is.
pub fn decoded(encoded: &str) -> String {
    percent_decode(encoded.as_bytes()).map_or_else(|| encoded.to_owned(), |bytes| readable(&bytes))
}

/// `1.4 GB`
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} {}", UNITS[0]),
        _ if value < 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `1,234,567`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `3 days 4 h`, in the two largest units.
pub fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0) as u64;
    let units = [(86_400, "day"), (3600, "h"), (60, "min"), (1, "s")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (length, name) in units {
        let times = rest / length;
        rest %= length;
        if times > 0 && parts.len() < 2 {
            let plural = if name == "day" && times != 1 { "s" } else { "" };
            parts.push(format!("{} {name}{plural}", count(times)));
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// `2026-11-21 03:40:00`
pub fn moment(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_show_nothing_are_spelled_out() {
        assert_eq!(visible("a\u{202e}b\u{0}c\n"), "a\\u202eb\\x00c\n");
    }

    #[test]
    fn numbers_are_short() {
        let sizes = [0, 999, 1024, 1_500_000, 5 << 30].map(size);
        assert_eq!(
            sizes,
            ["0 bytes", "999 bytes", "1.0 kB", "1.4 MB", "5.0 GB"]
        );
        assert_eq!(
            [1, 999, 1000, 1_234_567].map(count),
            ["1", "999", "1,000", "1,234,567"]
        );
        let spans = [0, 59, 3600, 90_061, 172_800].map(|s| span(TimeDelta::seconds(s)));
        assert_eq!(spans, ["0 s", "59 s", "1 h", "1 day 1 h", "2 days"]);
        assert_eq!(readable("Käse".as_bytes()), "Käse");
        assert_eq!(readable(b"K\xe4se"), "Käse");
        assert_eq!(readable(&"Käse".as_bytes()[..2]), "K");
    }
}
