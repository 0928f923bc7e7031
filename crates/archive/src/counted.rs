//! Numbers of things, for sentences.

use std::fmt::Display;

/// `1 table`, `2 tables`; `number` may be text already, as with digits in groups.
pub fn counted(number: impl Display, noun: &str) -> String {
    let number = number.to_string();
    let ending = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{ending}")
}
