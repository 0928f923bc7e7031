//! A table of how each kind of statement is recorded, by its command tag.
//!
//! A tag that is not listed is recorded with its text, so that a command of a newer PostgreSQL is not lost
//! silently.

/// How a statement is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordMode {
    /// It changes nothing that a dump of the database shows, or only rows.
    Nothing,
    /// With the text as the user typed it; its effects are decoded from the catalogs.
    Words,
    /// Its effect is decoded from the WAL.
    Wal,
    /// It creates a table or a materialized view from a query. As for the following, decoder_raw needs
    /// another text.
    FilledTable,
    /// Only EXPLAIN ANALYZE of a statement that creates a table is recorded.
    Explain,
    /// Its only effect is the mark on the index.
    Cluster,
    /// Its effects are indexes that become valid, or move to another tablespace; no text is recorded.
    Reindex,
    /// It executes statements as its parts.
    Parts,
    /// Becomes a comment that names the role.
    Role,
    /// Becomes a comment that names the tablespace.
    Tablespace,
    /// About the database itself: by its text, with the name of the database in which it is replayed.
    Database,
    /// It would connect to another server.
    Subscription,
    /// The extension's script runs again when it is replayed.
    Extension,
}

/// The mode of the statement with this command tag (tcop/cmdtaglist.h).
pub fn record_mode_of(tag: &str) -> RecordMode {
    match tag {
        "BEGIN"
        | "START TRANSACTION"
        | "COMMIT"
        | "ROLLBACK"
        | "PREPARE TRANSACTION"
        | "COMMIT PREPARED"
        | "ROLLBACK PREPARED"
        | "SAVEPOINT"
        | "RELEASE" => RecordMode::Nothing,
        "SET" | "RESET" | "SHOW" | "SET CONSTRAINTS" | "ALTER SYSTEM" | "LOAD" | "CHECKPOINT"
        | "LISTEN" | "UNLISTEN" | "NOTIFY" | "LOCK TABLE" | "WAIT" => RecordMode::Nothing,
        "DISCARD" | "DISCARD ALL" | "DISCARD PLANS" | "DISCARD SEQUENCES" | "DISCARD TEMP" => {
            RecordMode::Nothing
        }
        "DECLARE CURSOR" | "CLOSE" | "CLOSE CURSOR" | "CLOSE CURSOR ALL" | "FETCH" | "MOVE"
        | "PREPARE" | "EXECUTE" | "DEALLOCATE" | "DEALLOCATE ALL" => RecordMode::Nothing,
        // Statements executed by these are recorded when they run.
        "DO" | "CALL" => RecordMode::Nothing,
        "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" | "COPY FROM" => {
            RecordMode::Nothing
        }
        "VACUUM" | "ANALYZE" | "REPACK" => RecordMode::Nothing,
        "REINDEX" => RecordMode::Reindex,
        "CREATE DATABASE" | "DROP DATABASE" | "DROP TABLESPACE" => RecordMode::Nothing,
        "ALTER DATABASE" | "ALTER DATABASE SET" => RecordMode::Database,
        "CREATE TABLESPACE" | "ALTER TABLESPACE" => RecordMode::Tablespace,
        // Everything about large objects is written at the end of the transaction, from the catalogs: also
        // owner, privileges, comments and labels, whatever statement or function changed them. (The tags
        // COMMENT, GRANT and SECURITY LABEL do not show it: see Statement::is_written_without_text.)
        "ALTER LARGE OBJECT" => RecordMode::Nothing,
        "CREATE ROLE" | "ALTER ROLE" | "DROP ROLE" | "GRANT ROLE" | "REVOKE ROLE" => {
            RecordMode::Role
        }
        "TRUNCATE TABLE" => RecordMode::Wal,
        "CREATE TABLE AS" | "SELECT INTO" | "CREATE MATERIALIZED VIEW" => RecordMode::FilledTable,
        "EXPLAIN" => RecordMode::Explain,
        "CLUSTER" => RecordMode::Cluster,
        "IMPORT FOREIGN SCHEMA" => RecordMode::Parts,
        "CREATE SUBSCRIPTION" | "ALTER SUBSCRIPTION" | "DROP SUBSCRIPTION" => {
            RecordMode::Subscription
        }
        "CREATE EXTENSION" | "ALTER EXTENSION" => RecordMode::Extension,
        _ => RecordMode::Words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modes in docs/statements.md.
    fn word(mode: RecordMode) -> &'static str {
        match mode {
            RecordMode::Nothing => "nothing",
            RecordMode::Words => "words",
            RecordMode::Wal => "wal",
            RecordMode::FilledTable => "filled table",
            RecordMode::Explain => "explain",
            RecordMode::Cluster => "cluster",
            RecordMode::Reindex => "reindex",
            RecordMode::Parts => "parts",
            RecordMode::Role => "role",
            RecordMode::Tablespace => "tablespace",
            RecordMode::Database => "database",
            RecordMode::Subscription => "subscription",
            RecordMode::Extension => "extension",
        }
    }

    #[test]
    fn the_documentation_says_the_same() {
        let page = include_str!("../../docs/statements.md");
        let rows = page
            .lines()
            .skip_while(|line| *line != "| --- | --- |")
            .skip(1);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let mut tags = 0;
        for row in rows {
            let mut cells = row.trim_matches('|').split('|').map(str::trim);
            let (statements, mode) = (cells.next().unwrap_or_default(), cells.next());
            for tag in statements.split(", ") {
                assert_eq!(mode, Some(word(record_mode_of(tag))), "{tag}");
                tags += 1;
            }
        }
        assert!(tags > 80, "{tags} statements were read");
    }

    #[test]
    fn an_unknown_command_is_recorded_by_its_words() {
        assert_eq!(record_mode_of("CREATE PROPERTY GRAPH"), RecordMode::Words);
        assert_eq!(record_mode_of("CREATE TABLE"), RecordMode::Words);
    }

    #[test]
    fn rows_and_sessions_are_no_ddl() {
        for tag in ["INSERT", "COPY", "SET", "VACUUM", "DO", "CREATE DATABASE"] {
            assert_eq!(record_mode_of(tag), RecordMode::Nothing, "{tag}");
        }
    }
}
