//! Settings of roles in the scratch databases of drills, which pg_dumpall writes like any other.

/// The prefix of the name of every scratch database.
pub const SCRATCH_PREFIX: &str = "pg_incrbackup_drill_";

/// pg_dumpall's output without the settings of roles in scratch databases, which no other server has.
pub fn without_scratch_databases(globals: &[u8]) -> Vec<u8> {
    // The second is a name until the restore is complete.
    let marks = ["", "\""].map(|quote| format!(" IN DATABASE {quote}{SCRATCH_PREFIX}"));
    let (mut kept, mut is_left_out, mut quote) = (Vec::new(), false, None);
    for line in globals.split_inclusive(|byte| *byte == b'\n') {
        // Inside of a quoted string or name, a line is not a statement.
        if quote.is_none() {
            let text = String::from_utf8_lossy(line);
            is_left_out =
                text.starts_with("ALTER ROLE ") && marks.iter().any(|mark| text.contains(mark));
        }
        if quote.is_some() || !line.starts_with(b"--") {
            for byte in line {
                match quote {
                    None if matches!(byte, b'\'' | b'"') => quote = Some(*byte),
                    Some(open) if open == *byte => quote = None,
                    _ => {}
                }
            }
        }
        if !is_left_out {
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_set_in_scratch_databases_is_left_out() {
        let text = "-- User Config \"o'neill\"\nALTER ROLE a IN DATABASE shop SET x TO 'y';\n\
            ALTER ROLE a IN DATABASE pg_incrbackup_drill_7_5 SET x TO 'two\nALTER ROLE''s';\n\
            ALTER ROLE \"o'neill\" IN DATABASE shop SET x TO 'y';\n\
            ALTER ROLE a IN DATABASE \"pg_incrbackup_drill_7_5.restoring\" SET x TO 'y';\n\
            ALTER ROLE b SET x TO 'an\nALTER ROLE a IN DATABASE pg_incrbackup_drill_7_5';\nend\n";
        let expected = text.replace(
            "ALTER ROLE a IN DATABASE pg_incrbackup_drill_7_5 SET x TO 'two\nALTER ROLE''s';\n",
            "",
        );
        let expected = expected.replace(
            "ALTER ROLE a IN DATABASE \"pg_incrbackup_drill_7_5.restoring\" SET x TO 'y';\n",
            "",
        );
        let kept = without_scratch_databases(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&kept), expected);
    }
}
