//! What a restore leaves out on request, and the roles that it gives other names.

use clap::Args;

/// What of the archive is not wanted, as in pg_restore
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct Options {
    /// Everything belongs to the role of --target, whoever owned it at the source
    #[arg(long)]
    pub no_owner: bool,

    /// Without privileges (GRANT, REVOKE, default privileges)
    #[arg(long, short = 'x')]
    pub no_privileges: bool,

    /// Everything is in the database's own tablespace
    #[arg(long)]
    pub no_tablespaces: bool,

    /// Without publications
    #[arg(long)]
    pub no_publications: bool,

    /// Without subscriptions
    #[arg(long)]
    pub no_subscriptions: bool,

    /// Without comments
    #[arg(long)]
    pub no_comments: bool,

    /// Without security labels
    #[arg(long)]
    pub no_security_labels: bool,

    /// What belongs to role OLD at the source, or names it, belongs to role NEW here, or names that; may be given more
    /// than once
    ///
    /// In owners, privileges, policies, default privileges, user mappings and settings of roles. NEW must exist.
    #[arg(long = "role", value_name = "OLD=NEW", value_parser = old_and_new)]
    pub roles: Vec<(String, String)>,

    /// Where the SQL of what the role of --target is not permitted to make is written, for a superuser to run later
    ///
    /// It is written only if there is something to write; a file that exists is never overwritten, and /dev/null writes
    /// none. (Default: left-out.sql in the current directory.)
    #[arg(
        long,
        value_name = "FILE",
        default_value = "left-out.sql",
        hide_default_value = true
    )]
    pub left_out: std::path::PathBuf,
}

fn old_and_new(text: &str) -> Result<(String, String), String> {
    let names = text.split_once('=');
    let names = names.filter(|(old, new)| !old.is_empty() && !new.is_empty());
    let (old, new) = names.ok_or("it is OLD=NEW: the role at the source, and the one here")?;
    Ok((old.to_owned(), new.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn two_roles_are_needed() {
        assert_eq!(old_and_new("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        for text in ["a", "=b", "a="] {
            assert!(old_and_new(text).is_err(), "{text}");
        }
    }
}
