//! The scratch database of `--scratch`: an empty one of the role's, which is as it was in the end.

use serde::{Deserialize, Serialize};

use super::scratch::{comment, mark, Held, SCRATCH};
use super::server::{drop_statement, ensure_empty, is_there, Found};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::identifier;
use crate::restore::progress;

/// What is in a database beside what an extension of somebody else has there, as statements that drop it. What goes with
/// another object of the list may be gone when its turn comes.
const CONTENTS: &str = "WITH others AS (SELECT oid FROM pg_catalog.pg_extension \
        WHERE NOT pg_catalog.pg_has_role(extowner, 'USAGE') OR extname = 'plpgsql') \
    SELECT pg_catalog.format('DROP EXTENSION IF EXISTS %I CASCADE', extname) FROM pg_catalog.pg_extension \
        WHERE oid NOT IN (SELECT oid FROM others) \
    UNION ALL SELECT pg_catalog.format('DROP SCHEMA IF EXISTS %I CASCADE', nspname) FROM pg_catalog.pg_namespace AS n \
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema') \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extnamespace = n.oid) \
    UNION ALL SELECT pg_catalog.format('DROP %s IF EXISTS %s CASCADE', \
            CASE i.type WHEN 'statistics object' THEN 'STATISTICS' ELSE pg_catalog.upper(i.type) END, i.identity) \
        FROM pg_catalog.pg_depend AS d, LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS i \
        WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.deptype = 'n' AND i.identity IS NOT NULL \
            AND d.refobjid IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'public' \
                UNION ALL SELECT extnamespace FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql') \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS m \
                WHERE m.classid = d.classid AND m.objid = d.objid AND m.deptype = 'e') \
    UNION ALL SELECT pg_catalog.format('DROP SERVER IF EXISTS %I CASCADE', srvname) FROM pg_catalog.pg_foreign_server \
    UNION ALL SELECT pg_catalog.format('DROP FOREIGN DATA WRAPPER IF EXISTS %I CASCADE', fdwname) FROM pg_catalog.pg_foreign_data_wrapper AS w \
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend \
            WHERE classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass AND objid = w.oid AND deptype = 'e')";

/// What a restore changes of the database itself, as it was. It is in the comment meanwhile, so that whoever comes after one
/// that was killed finds it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// PUBLIC may connect, by the owner's grant.
    is_open: bool,
    comment: Option<String>,
}

const IS_OPEN: &str = "SELECT EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(datacl, pg_catalog.acldefault('d', datdba))) \
        WHERE grantee = 0 AND privilege_type = 'CONNECT' AND grantor = datdba) \
    FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";

impl Before {
    async fn read(within: &Session, comment: Option<String>) -> Result<Before> {
        let rows = within.client.query_typed(IS_OPEN, &[]).await?;
        Ok(Before {
            is_open: rows[0].try_get(0)?,
            comment,
        })
    }

    /// The comment while the database is used.
    fn mark(&self) -> Result<String> {
        let text = serde_json::to_string(self);
        let odd = |error| Error::failed(format!("the mark of a scratch database: {error}"), "");
        Ok(format!("{SCRATCH}{BEFORE}{}", text.map_err(odd)?))
    }

    /// Of such a comment; `None` for that of a database that was created.
    fn of_mark(comment: &str) -> Option<Before> {
        let text = comment.strip_prefix(SCRATCH)?.strip_prefix(BEFORE)?;
        serde_json::from_str(text).ok()
    }
}

/// Between the two parts of a mark.
const BEFORE: &str = "; before: ";

impl Found {
    /// Takes it, as soon as no other restore has it.
    pub(super) async fn named_scratch(&self, name: &str) -> Result<Held> {
        if !is_there(&self.session, name).await? {
            let message = format!("the database \"{name}\" of --scratch does not exist");
            let hint = "Name an empty one that the role owns; without --scratch one is created and dropped again.";
            return Err(Error::failed(message, hint));
        }
        let within = Session::open(&self.conninfo, Some(name)).await?;
        self.role.ensure_may_make(&within, name, true).await?;
        self.ensure_own_scratch(&within, name).await?;
        progress::lock_scratch(&within, name).await?;
        // A restore into it as a target may have begun, and of one that was killed something may still be running.
        progress::lock(&within, name).await?;
        let comment = comment(&within, name).await?;
        let is_marked = |comment: &String| comment.starts_with(SCRATCH);
        let before = if let Some(comment) = comment.as_ref().filter(|it| is_marked(it)) {
            empty(&within).await?;
            Before::of_mark(comment)
        } else {
            Some(Before::read(&within, comment).await?)
        };
        let before = before.unwrap_or_default();
        ensure_empty(&within, name, &self.role).await?;
        let mark = mark(name, Some(&before.mark()?));
        within.client.batch_execute(&mark).await?;
        progress::unlock(&within, name).await?;
        Ok(Held {
            session: within,
            before: Some(before),
        })
    }

    /// Who owns a database can replace what a superuser is about to call there.
    async fn ensure_own_scratch(&self, within: &Session, name: &str) -> Result<()> {
        const IS_SUPERUSERS: &str = "SELECT r.rolsuper FROM pg_catalog.pg_database AS d \
            JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba WHERE d.datname = pg_catalog.current_database()";
        let rows = within.client.query_typed(IS_SUPERUSERS, &[]).await?;
        let is_superusers: bool = rows[0].try_get(0)?;
        if is_superusers || !self.role.is_superuser {
            return Ok(());
        }
        let message = format!("the database \"{name}\" of --scratch belongs to a role that is no superuser, and code that it put there would run as one");
        let hint = "Restore as that role; or leave --scratch out: a superuser creates one. Nothing was changed.";
        Err(Error::failed(message, hint))
    }

    /// It is not needed any more.
    pub(super) async fn empty_scratch(
        &self,
        name: &str,
        within: &Session,
        before: &Before,
    ) -> Result<()> {
        empty(within).await?;
        let left = ensure_empty(within, name, &self.role).await;
        left.map_err(|error| {
            let message = format!("the scratch database \"{name}\" could not be emptied: {error}");
            let hint = format!("It can be dropped: {}", drop_statement(name));
            Error::failed(message, hint)
        })?;
        let mut sql = format!("BEGIN; {}", mark(name, before.comment.as_deref()));
        if before.is_open {
            let open = format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", identifier(name));
            sql = format!("{sql}; {open}");
        }
        Ok(within
            .client
            .batch_execute(&format!("{sql}; COMMIT"))
            .await?)
    }
}

/// Drops what is in a scratch database.
async fn empty(session: &Session) -> Result<()> {
    let mut last = usize::MAX;
    loop {
        let rows = session.client.query_typed(CONTENTS, &[]).await?;
        // Something that cannot be dropped stays; who asks whether it is empty says so.
        if rows.is_empty() || rows.len() >= last {
            return Ok(());
        }
        last = rows.len();
        for row in &rows {
            let statement: String = row.try_get(0)?;
            // It may have gone with another.
            let _ = session.client.batch_execute(&statement).await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_read_from_the_mark() {
        for (is_open, comment) in [
            (true, None),
            (false, Some("it's; before: {\"é\"}\nscratch")),
        ] {
            let before = Before {
                is_open,
                comment: comment.map(str::to_owned),
            };
            let mark = before.mark().unwrap();
            assert!(mark.starts_with(SCRATCH));
            assert_eq!(Before::of_mark(&mark), Some(before));
        }
        assert_eq!(Before::of_mark(SCRATCH), None);
    }
}
