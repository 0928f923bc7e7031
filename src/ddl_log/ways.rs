//! One table: how each kind of statement is recorded, by its command tag.
//!
//! A tag that is not listed is recorded by its words, so that a command of a newer PostgreSQL is
//! never lost in silence.

/// How a statement gets into the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It changes nothing that a dump of the database shows, or only rows.
    Nothing,
    /// By the words that the user typed; what it did is decoded from the catalogs.
    Words,
    /// Its effect is decoded from the WAL.
    Wal,
    /// It makes a table or a materialized view of a query. As for the following, decoder_raw needs another text.
    FilledTable,
    /// Only EXPLAIN ANALYZE of a statement that makes a table counts.
    Explain,
    /// What it leaves is the mark on the index.
    Cluster,
    /// What counts is indexes that it finished, or moved to another tablespace; no words are recorded.
    Reindex,
    /// It runs statements as its parts.
    Parts,
    /// Becomes a comment that names the role.
    Role,
    /// Becomes a comment that names the tablespace.
    Tablespace,
    /// About the database itself: by its text, with the name of the database it is replayed in.
    Database,
    /// It would reach for another server.
    Subscription,
    /// The extension's script runs again when it is replayed.
    Extension,
}

/// The way of the statement with this command tag (tcop/cmdtaglist.h).
pub fn way_of(tag: &str) -> Way {
    match tag {
        "BEGIN"
        | "START TRANSACTION"
        | "COMMIT"
        | "ROLLBACK"
        | "PREPARE TRANSACTION"
        | "COMMIT PREPARED"
        | "ROLLBACK PREPARED"
        | "SAVEPOINT"
        | "RELEASE" => Way::Nothing,
        "SET" | "RESET" | "SHOW" | "SET CONSTRAINTS" | "ALTER SYSTEM" | "LOAD" | "CHECKPOINT"
        | "LISTEN" | "UNLISTEN" | "NOTIFY" | "LOCK TABLE" | "WAIT" => Way::Nothing,
        "DISCARD" | "DISCARD ALL" | "DISCARD PLANS" | "DISCARD SEQUENCES" | "DISCARD TEMP" => {
            Way::Nothing
        }
        "DECLARE CURSOR" | "CLOSE" | "CLOSE CURSOR" | "CLOSE CURSOR ALL" | "FETCH" | "MOVE"
        | "PREPARE" | "EXECUTE" | "DEALLOCATE" | "DEALLOCATE ALL" => Way::Nothing,
        // What these run is seen when it runs.
        "DO" | "CALL" => Way::Nothing,
        "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" | "COPY FROM" => Way::Nothing,
        "VACUUM" | "ANALYZE" | "REPACK" => Way::Nothing,
        "REINDEX" => Way::Reindex,
        "CREATE DATABASE" | "DROP DATABASE" | "DROP TABLESPACE" => Way::Nothing,
        "ALTER DATABASE" | "ALTER DATABASE SET" => Way::Database,
        "CREATE TABLESPACE" | "ALTER TABLESPACE" => Way::Tablespace,
        // All about large objects is written at the transaction's end, from the catalogs: owner,
        // privileges, comments and labels too, whatever statement or function made them. (COMMENT,
        // GRANT and SECURITY LABEL do not tell by their tag: see Statement::is_written_without_text.)
        "ALTER LARGE OBJECT" => Way::Nothing,
        "CREATE ROLE" | "ALTER ROLE" | "DROP ROLE" | "GRANT ROLE" | "REVOKE ROLE" => Way::Role,
        "TRUNCATE TABLE" => Way::Wal,
        "CREATE TABLE AS" | "SELECT INTO" | "CREATE MATERIALIZED VIEW" => Way::FilledTable,
        "EXPLAIN" => Way::Explain,
        "CLUSTER" => Way::Cluster,
        "IMPORT FOREIGN SCHEMA" => Way::Parts,
        "CREATE SUBSCRIPTION" | "ALTER SUBSCRIPTION" | "DROP SUBSCRIPTION" => Way::Subscription,
        "CREATE EXTENSION" | "ALTER EXTENSION" => Way::Extension,
        _ => Way::Words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of docs/statements.md.
    fn word(way: Way) -> &'static str {
        match way {
            Way::Nothing => "nothing",
            Way::Words => "words",
            Way::Wal => "wal",
            Way::FilledTable => "filled table",
            Way::Explain => "explain",
            Way::Cluster => "cluster",
            Way::Reindex => "reindex",
            Way::Parts => "parts",
            Way::Role => "role",
            Way::Tablespace => "tablespace",
            Way::Database => "database",
            Way::Subscription => "subscription",
            Way::Extension => "extension",
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
            let (statements, way) = (cells.next().unwrap_or_default(), cells.next());
            for tag in statements.split(", ") {
                assert_eq!(way, Some(word(way_of(tag))), "{tag}");
                tags += 1;
            }
        }
        assert!(tags > 80, "{tags} statements were read");
    }

    #[test]
    fn an_unknown_command_is_recorded_by_its_words() {
        assert_eq!(way_of("CREATE PROPERTY GRAPH"), Way::Words);
        assert_eq!(way_of("CREATE TABLE"), Way::Words);
    }

    #[test]
    fn rows_and_sessions_are_no_ddl() {
        for tag in ["INSERT", "COPY", "SET", "VACUUM", "DO", "CREATE DATABASE"] {
            assert_eq!(way_of(tag), Way::Nothing, "{tag}");
        }
    }
}
