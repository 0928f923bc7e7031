//! The command tags whose effects the catalogs show completely.

/// Scripts of extensions have further effects.
pub fn has_effects_beyond_catalogs(command: &str) -> bool {
    matches!(command, "CREATE EXTENSION" | "ALTER EXTENSION")
}

/// True for a command that did nothing if it changed no catalog: IF EXISTS, IF NOT EXISTS, or if all objects
/// are temporary. Results of REFRESH are computed at the end of a restore.
pub fn is_visible_in_catalogs(command: &str) -> bool {
    let is_ddl = ["CREATE ", "ALTER ", "DROP "]
        .iter()
        .any(|verb| command.starts_with(verb))
        || matches!(
            command,
            "COMMENT"
                | "GRANT"
                | "REVOKE"
                | "SECURITY LABEL"
                | "REASSIGN OWNED"
                | "SELECT INTO"
                | "CLUSTER"
                | "REINDEX"
                | "REFRESH MATERIALIZED VIEW"
                | "EXPLAIN"
                | "IMPORT FOREIGN SCHEMA"
        );
    let is_of_others = ["ROLE", "TABLESPACE", "LARGE OBJECT", "SYSTEM"]
        .iter()
        .any(|word| command.ends_with(word));
    is_ddl && !is_of_others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_about_the_cluster_are_not_told() {
        assert!(is_visible_in_catalogs("DROP OWNED"));
        assert!(!is_visible_in_catalogs("DROP ROLE"));
        assert!(!is_visible_in_catalogs("GRANT ROLE"));
        assert!(has_effects_beyond_catalogs("ALTER EXTENSION"));
    }
}
