//! SQLSTATEs that say nothing about what was executed (appendix A of PostgreSQL's documentation), for the restore and for
//! whoever judges what came of it.

/// Connection exceptions, rollbacks of a transaction (deadlocks), insufficient resources, an operator who intervenes,
/// errors of the system.
const CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];

/// In these classes, but said of what was executed: a violation of the protocol, which is what parameters without values
/// are, and files that are missing or there.
const OF_STATEMENTS: [&str; 3] = ["08P01", "58P01", "58P02"];

/// Whether the server could not do it, now: it says nothing about the statement, or the rows.
pub fn is_unavailable(code: &str) -> bool {
    CLASSES.iter().any(|class| code.starts_with(class)) && !OF_STATEMENTS.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_lacks_is_told_from_what_a_statement_gets_wrong() {
        for code in ["08006", "40P01", "53100", "57P01", "58030"] {
            assert!(is_unavailable(code), "{code}");
        }
        for code in ["08P01", "58P01", "22023", "42501", "XX001", "5", ""] {
            assert!(!is_unavailable(code), "{code}");
        }
    }
}
