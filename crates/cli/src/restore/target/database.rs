//! The target database itself: made, given the source's properties, completed.

use archive::metadata::DatabaseFacts;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::statements::{split, Words};
use super::writers;
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::{ident, identifier, shown};
use crate::restore::progress;
use crate::restore::rights::filter::as_role;
use crate::restore::rights::left_out::Piece;
use crate::restore::rights::refusal::Subject;
use crate::restore::rights::{wording, Rights};

/// How [`DATABASE`] is written in database.sql: a variable of psql.
const DATABASE: &str = ":\"dbname\"";

/// `CREATE DATABASE`, with encoding and locale of the source, marked as one in which nothing is yet. The session's client_encoding is UTF8.
pub async fn create(session: &Session, name: &str, facts: &DatabaseFacts) -> Result<()> {
    let sql = format!(
        "CREATE DATABASE {} {} CONNECTION LIMIT {}",
        String::from_utf8_lossy(&ident(name.as_bytes())),
        facts.template(),
        progress::sql::BEGUN,
    );
    let created = session.statement(sql.as_bytes()).await;
    created.map_err(|error| {
        let message = format!("could not create the database \"{name}\": {error}");
        let hint =
            "An empty one that you created, with another locale for example, can be named instead.";
        if is_in_use(&error) {
            let hint = "Try again: somebody is connected to template0.".to_owned();
            return Error::Unavailable { message, hint };
        }
        error.with_message(message).with_hint(hint.to_owned())
    })?;
    Ok(())
}

fn is_in_use(error: &Error) -> bool {
    matches!(error, Error::Server(error) if error.code() == Some(&SqlState::OBJECT_IN_USE))
}

/// Changes the session's database, whatever its name is; `change` is behind that.
pub async fn alter(session: &Session, change: &str) -> Result<()> {
    let query = "SELECT pg_catalog.convert_to(pg_catalog.format('ALTER DATABASE %I %s', \
        pg_catalog.current_database(), $1), pg_catalog.current_setting('client_encoding'))";
    let rows = session
        .client
        .query_typed(query, &[(&change, Type::TEXT)])
        .await?;
    session.statement(rows[0].get::<_, &[u8]>(0)).await?;
    Ok(())
}

/// Its final name. Nobody may be connected to it; the server waits five seconds for those who are leaving.
pub async fn rename(session: &Session, name: &str, final_name: &str) -> Result<()> {
    let mut sql = format!(
        "ALTER DATABASE {} RENAME TO {}",
        identifier(name),
        identifier(final_name)
    );
    let mark = progress::mark_of(session, name).await?;
    if matches!(mark, Some(progress::Left::Complete { .. })) {
        sql = format!("{}; {sql}", progress::sql::unmark(name));
    }
    // A mark would be left at the final name otherwise, or none at the first one.
    let both = format!("BEGIN; {sql}; COMMIT");
    let renamed = session.client.batch_execute(&both).await;
    renamed.map_err(|error| {
        let message =
            format!("everything is restored into \"{name}\", but it could not be renamed: {error}");
        let hint = format!("It remains to run {sql};");
        Error::Unavailable { message, hint }
    })?;
    Ok(())
}

/// PUBLIC may not connect to a database that keeps its name, until it is complete.
#[derive(Debug, Clone, Copy, Default)]
pub struct Doors {
    /// What PUBLIC could do before, if it was taken away.
    lets_in: Option<bool>,
}

impl Doors {
    /// As an earlier run has left them.
    pub fn of(lets_in: Option<bool>) -> Doors {
        Doors { lets_in }
    }

    /// What PUBLIC may do in the end; `None` if that is not this restore's.
    pub fn lets_in(&self) -> Option<bool> {
        self.lets_in
    }

    /// Takes the privilege away.
    pub async fn close(&mut self, session: &Session) -> Result<()> {
        session
            .client
            .batch_execute(include_str!("database.sql"))
            .await?;
        let rows = session
            .client
            .query_typed("SELECT pg_temp.incr_keep_out()", &[])
            .await?;
        self.lets_in = Some(rows[0].get(0));
        Ok(())
    }

    /// Gives it back, if it was there.
    pub async fn open(&mut self, session: &Session) -> Result<()> {
        if self.lets_in.take() == Some(true) {
            session
                .client
                .batch_execute(include_str!("database.sql"))
                .await?;
            session
                .client
                .query_typed("SELECT pg_temp.incr_let_in()", &[])
                .await?;
        }
        Ok(())
    }
}

/// Gives the database of `session` the properties that a database.sql has. `is_later`: those of a later set of globals,
/// which replace all that there are. `is_followed`: whether transactions are read-only is not the source's; what that has
/// set is returned. Not within a transaction.
pub async fn apply(
    session: &Session,
    doors: &mut Doors,
    (place, text): (&str, &[u8]),
    (is_later, is_followed): (bool, bool),
    rights: &Rights,
) -> Result<Option<String>> {
    let mut read_only = None;
    let is_closed = doors.lets_in.is_some();
    doors.open(session).await?;
    if is_later {
        session
            .client
            .batch_execute(include_str!("database.sql"))
            .await?;
        let reset = "SELECT pg_temp.incr_database_to_default($1)";
        let followed: (&(dyn ToSql + Sync), Type) = (&is_followed, Type::BOOL);
        let done = session.client.query_typed(reset, &[followed]).await;
        if let Err(error) = done.map_err(Error::from) {
            let Some(reason) = rights.reason(&error, Subject::OfRoles) else {
                return Err(error);
            };
            rights.note(format!("some properties of the database stay: {reason}"));
        }
    }
    let name = name_of(session).await?;
    let mut of_grantor: Option<Vec<u8>> = None;
    for (line, statement) in statements(place, text, &name)? {
        let Some(statement) = rights.line(&statement) else {
            continue;
        };
        if let Some(value) = writers::setting_of(&statement).filter(|_| is_followed) {
            read_only = Some(value);
            continue;
        }
        // What a grantor says that the role cannot be is left out as a whole.
        if let Some(mut group) = of_grantor.take() {
            group.extend_from_slice(b";\n");
            group.extend_from_slice(&statement);
            if &statement[..] == b"RESET SESSION AUTHORIZATION" {
                let reason = "the role cannot grant as another one".to_owned();
                let left = leaf("privileges on the database", &group, reason);
                rights.left_out().add(left);
            } else {
                of_grantor = Some(group);
            }
            continue;
        }
        if rights.is_limited() && statement.starts_with(b"SET SESSION AUTHORIZATION ") {
            let grantor = wording::roles_named(&statement).pop();
            if grantor.is_none_or(|grantor| !rights.may_give_to(&grantor)) {
                of_grantor = Some(statement.into_owned());
                continue;
            }
        }
        let statement = if rights.is_limited() {
            as_role(&statement).into()
        } else {
            statement
        };
        if rights.needs_no_roles() && !rights.is_limited() {
            rights.make_roles(session, &statement).await?;
        }
        if let Err(error) = session.statement(&statement).await {
            let said = shown(&statement[..statement.len().min(60)]);
            let done = give_up(rights, &said, &statement, error);
            done.map_err(|error| {
                let message = format!("{place}:{line}: {error}");
                error.with_message(message)
            })?;
        }
    }
    if rights.is_limited() {
        session.statement(b"SET ROLE NONE").await?;
    }
    if is_closed {
        doors.close(session).await?;
    }
    Ok(read_only)
}

/// Of what a role that is no superuser may be refused, nothing stops a restore.
fn give_up(rights: &Rights, what: &str, sql: &[u8], error: Error) -> Result<()> {
    let Some(reason) = rights.reason(&error, Subject::OfRoles) else {
        return Err(error);
    };
    rights.left_out().add(leaf(what, sql, reason));
    Ok(())
}

fn leaf(what: &str, sql: &[u8], reason: String) -> Piece {
    Piece {
        is_leaf: true,
        ..Piece::new(what, sql, reason)
    }
}

/// Of the session's database, in its encoding.
async fn name_of(session: &Session) -> Result<Vec<u8>> {
    const NAME: &str =
        "SELECT pg_catalog.convert_to(datname::text, pg_catalog.getdatabaseencoding()) \
        FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
    let rows = session.client.query_typed(NAME, &[]).await?;
    Ok(rows[0].get(0))
}

/// The statements of a database.sql, with their lines. All must be of the kinds that we write.
fn statements(place: &str, text: &[u8], database: &[u8]) -> Result<Vec<(u64, Vec<u8>)>> {
    let damaged = |line: u64, why: String| Error::Damaged {
        message: format!("{place}:{line}: {why}"),
        hint: "Take the file from another copy of the archive.".to_owned(),
    };
    let torn = |line| damaged(line, "the file ends within a statement".to_owned());
    let mut all = Vec::new();
    for statement in split(text).map_err(torn)? {
        let Some(known) = known(&statement.text, database).filter(|_| statement.is_plain) else {
            let start = &statement.text[..statement.text.len().min(40)];
            let why = format!("a statement of an unknown kind: {}", shown(start));
            return Err(damaged(statement.line, why));
        };
        all.push((statement.line, known));
    }
    Ok(all)
}

/// The statement with the name of the database in place of the variable; `None` for an unknown kind.
fn known(text: &[u8], database: &[u8]) -> Option<Vec<u8>> {
    let mut words = Words(text);
    let has_name = |mut words: Words| words.eat(DATABASE);
    let is_known = if words.eat("ALTER DATABASE ") || words.eat("COMMENT ON DATABASE ") {
        has_name(words)
    } else if words.eat("ALTER ROLE ") {
        words.name()?;
        words.eat(" IN DATABASE ") && has_name(words)
    } else if words.eat("SECURITY LABEL FOR ") {
        words.name()?;
        words.eat(" ON DATABASE ") && has_name(words)
    } else if words.eat("GRANT ") || words.eat("REVOKE ") {
        let end = words
            .0
            .iter()
            .position(|byte| !byte.is_ascii_uppercase() && *byte != b' ')?;
        let (before, rest) = words.0.split_at(end);
        before.ends_with(b" ON DATABASE ") && has_name(Words(rest))
    } else {
        // Without a variable: the comment of schema public, partitions that are being detached (until 0.2 as a plain
        // statement), and who grants.
        return [
            "COMMENT ON SCHEMA public IS NULL",
            "DO '",
            "DO E'",
            "ALTER TABLE ONLY ",
            "SET SESSION AUTHORIZATION ",
            "RESET SESSION AUTHORIZATION",
        ]
        .iter()
        .any(|start| text.starts_with(start.as_bytes()))
        .then(|| text.to_vec());
    };
    // The variable follows what is known by now: it is the first one, and not in a name or a string.
    let at = memchr::memmem::find(text, DATABASE.as_bytes()).filter(|_| is_known)?;
    let (before, rest) = (&text[..at], &text[at + DATABASE.len()..]);
    Some([before, &ident(database), rest].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NAME: &[u8] = b"a \"b\";\n:\"dbname\"";
    const QUOTED: &str = "\"a \"\"b\"\";\n:\"\"dbname\"\"\"";

    fn put(text: &str) -> Vec<String> {
        let all = statements("database.sql", text.as_bytes(), NAME).unwrap();
        let texts = all
            .into_iter()
            .map(|(_, text)| String::from_utf8(text).unwrap());
        texts.collect()
    }

    #[test]
    fn only_the_variable_is_replaced() {
        for (before, after) in [
            ("ALTER DATABASE ", " OWNER TO \"it;s\""),
            ("COMMENT ON DATABASE ", " IS E'it''s \\\\ :\"dbname\"; \n'"),
            ("ALTER DATABASE ", " SET search_path TO ':\"dbname\"', 'a;'"),
            ("ALTER ROLE \"x:\" IN DATABASE ", " SET a TO '1'"),
            (
                "GRANT CONNECT ON DATABASE ",
                " TO \":\"\"dbname\"\"\" WITH GRANT OPTION",
            ),
            ("REVOKE ALL ON DATABASE ", " FROM PUBLIC"),
            ("SECURITY LABEL FOR p ON DATABASE ", " IS ':\"dbname\"'"),
        ] {
            let text = format!("-- comment\n\n{before}:\"dbname\"{after};\n");
            assert_eq!(put(&text), [format!("{before}{QUOTED}{after}")]);
        }
    }

    #[test]
    fn a_role_that_is_called_like_the_variable_is_none() {
        let text = "ALTER ROLE \":\"\"dbname\"\"\" IN DATABASE :\"dbname\" SET a TO '1';\n";
        let expected = format!("ALTER ROLE \":\"\"dbname\"\"\" IN DATABASE {QUOTED} SET a TO '1'");
        assert_eq!(put(text), [expected]);
    }

    #[test]
    fn who_grants_stays_around_the_grant() {
        let text = "SET SESSION AUTHORIZATION b; GRANT CREATE ON DATABASE :\"dbname\" TO c; RESET SESSION AUTHORIZATION;\n\
            COMMENT ON SCHEMA public IS NULL;\nDO 'BEGIN IF x THEN y; END IF; END';\n";
        assert_eq!(put(text).len(), 5);
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in [
            "DROP DATABASE :\"dbname\";",
            "ALTER DATABASE other SET a TO '1';",
            "ALTER SYSTEM SET a = '1';",
            "GRANT a TO b;",
            "\\! id\n",
            "ALTER DATABASE :\"dbname\" SET a TO $$1$$;",
            "ALTER ROLE a SUPERUSER;",
            "ALTER DATABASE :\"dbname\" SET a TO '1",
        ] {
            let error = statements("database.sql", text.as_bytes(), b"x").unwrap_err();
            assert!(
                error.to_string().starts_with("database.sql:1: "),
                "{text}: {error}"
            );
        }
    }
}
