//! Texts of archives and servers on a terminal, and figures as people read them.

use archive::time::{iso, Time};
use archive::Lsn;
use archive_query::report::text::visible;

pub use archive_query::report::text::{count, decoded, size, span};

/// A name or a message on one line. Control characters, which could move the cursor or pose as lines of ours, are spelled
/// out.
pub fn line(text: &str) -> String {
    visible(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// The same of what may have several lines.
pub fn lines(text: &str) -> String {
    visible(text)
}

/// A moment of the archive, in a form that `--until-time` and `--until-lsn` take.
pub fn moment(at: Option<Time>, lsn: Lsn) -> String {
    let at = at.map_or_else(|| "(time unknown)".to_owned(), iso);
    format!("{at}  {lsn}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(line("a\x1b[2J\nb"), "a\\x1b[2J\\nb");
        assert_eq!(lines("a\nb\x07"), "a\nb\\x07");
        assert_eq!(decoded("a%20b%1B"), "a b\u{1b}");
        assert_eq!(decoded("%E4se"), "äse");
    }
}
