//! The statements of a part in the target, inside of its transaction.
//!
//! A role that is no superuser makes everything as its own first. What it says of that in the end (owners, privileges)
//! may be refused, and is then told; the definitions may not.

use std::collections::BTreeSet;

use effects::text::unquoted;
use effects::Effect;
use tokio_postgres::types::{ToSql, Type};

use crate::connection::{guarded, Session};
use crate::error::{Error, Result};
use crate::quote::identifier;
use crate::restore::rights::refusal::{self, is_orphan, Subject};
use crate::restore::rights::{wording, Rights};

/// Statements in the target.
pub struct Applying<'a> {
    target: &'a Session,
    rights: &'a Rights,
    /// Schemas that were made, not quoted: privileges on them are the restore's to lend.
    schemas: BTreeSet<String>,
    /// Sentences about what is not as at the source.
    pub odd: Vec<String>,
}

/// Verbs of what is said of an object that is there.
const SAID: [&str; 5] = ["owner", "grant", "revoke", "comment", "label"];

impl<'a> Applying<'a> {
    /// Sets what texts and rows mean, and that triggers and rules do not act on what is made, as far as the role may.
    /// (Where it may not, there are none yet when rows come.)
    pub async fn begin(target: &'a Session, rights: &'a Rights) -> Result<Applying<'a>> {
        let settings = archive::segment::SETTINGS.iter();
        for (name, value) in settings.filter(|(name, _)| !rights.lacks_setting(name)) {
            let set = format!("SET LOCAL {name} = {value}");
            target.client.batch_execute(&set).await?;
        }
        Ok(Applying {
            target,
            rights,
            schemas: BTreeSet::new(),
            odd: Vec::new(),
        })
    }

    /// Rows come into tables that are in use, whose triggers may name things without their schema, and read what they may
    /// see. (COPY itself is refused where row security holds for the role, whatever row_security is.)
    pub async fn begin_rows(&self) -> Result<()> {
        ensure_origin(self.target, self.rights).await?;
        let set = "SET LOCAL search_path = \"$user\", public; SET LOCAL row_security = on";
        Ok(self.target.client.batch_execute(set).await?)
    }

    /// What waits for the end of the transaction runs as the rows did. Behind that names are PostgreSQL's own again: an
    /// operator that somebody has made would be found for ours; and event triggers do not fire for definitions.
    pub async fn end_rows(&self) -> Result<()> {
        let set = "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL search_path = ''; SET LOCAL row_security = off";
        self.target.client.batch_execute(set).await?;
        if !self.rights.lacks_setting("session_replication_role") {
            let set = "SET LOCAL session_replication_role = replica";
            self.target.client.batch_execute(set).await?;
        }
        Ok(())
    }

    pub async fn extension(&self, name: &str, schema_name: &str) -> Result<()> {
        let (quoted, schema) = (identifier(name), identifier(schema_name));
        let query = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1";
        let name: [(&(dyn ToSql + Sync), Type); 1] = [(&schema_name, Type::TEXT)];
        let is_there = !self
            .target
            .client
            .query_typed(query, &name)
            .await?
            .is_empty();
        // IF NOT EXISTS would be refused of pg_catalog.
        let exists = (!is_there).then(|| format!("CREATE SCHEMA {schema}"));
        let create = format!("CREATE EXTENSION {quoted} SCHEMA {schema}");
        for statement in exists.into_iter().chain([create]) {
            let made = self.target.client.batch_execute(&statement).await;
            made.map_err(|error| {
                Error::failed(format!("extension {quoted}: {}", Error::from(error)), "")
            })?;
        }
        Ok(())
    }

    pub async fn effect(&mut self, effect: &Effect) -> Result<()> {
        let is_key = effect.class == "constraint" && effect.sql.contains(" FOREIGN KEY ");
        let done = if is_key && effect.grantor.is_none() {
            self.foreign_key(&effect.sql).await
        } else if self.rights.is_limited() {
            self.if_permitted(effect).await
        } else if effect.verb == "owner" && effect.class == "foreign-data wrapper" {
            self.own(&effect.sql).await
        } else {
            self.as_grantor(effect).await
        };
        if (effect.class, effect.verb) == ("schema", "create") {
            self.schemas.insert(unquoted(&effect.identity));
        }
        done.map_err(|error| {
            let (verb, class, identity) = (effect.verb, effect.class, &effect.identity);
            Error::failed(format!("{verb} {class} {identity}: {error}"), error.hint())
        })
    }

    async fn as_grantor(&self, effect: &Effect) -> Result<()> {
        let Some(grantor) = &effect.grantor else {
            return self.target.statement(effect.sql.as_bytes()).await.map(drop);
        };
        let client = &self.target.client;
        let set = format!("SET LOCAL ROLE {grantor}");
        client.batch_execute(&set).await?;
        self.target.statement(effect.sql.as_bytes()).await?;
        Ok(client.batch_execute("SET LOCAL ROLE NONE").await?)
    }

    /// An owner that must be a superuser.
    async fn own(&self, sql: &str) -> Result<()> {
        let functions = include_str!("../base/functions.sql");
        self.target.client.batch_execute(functions).await?;
        let text: [(&(dyn ToSql + Sync), Type); 1] = [(&sql, Type::TEXT)];
        let call = "SELECT pg_temp.incr_own($1)";
        self.target.client.query_typed(call, &text).await?;
        Ok(())
    }

    /// As a role that may be refused what is said of an object.
    async fn if_permitted(&mut self, effect: &Effect) -> Result<()> {
        let is_refresh = effect.verb == "refresh";
        if !SAID.contains(&effect.verb) && !is_refresh {
            return self.as_grantor(effect).await;
        }
        let done = guarded(&self.target.client, self.as_grantor(effect)).await;
        let Err(error) = done else {
            return Ok(());
        };
        let subject = Subject::of_change(effect.class, effect.verb);
        let Some(reason) = refusal::reason(&error, subject, false) else {
            return Err(error);
        };
        if effect.verb == "owner" && self.lend(effect).await? {
            return Ok(());
        }
        let sql = &effect.sql;
        self.odd.push(if is_refresh {
            let view = &effect.identity;
            format!("materialized view {view} stays without rows: {reason}: {sql};")
        } else {
            format!("this is left out: {reason}: {sql};")
        });
        Ok(())
    }

    /// An owner needs CREATE on the schema, which is lent for the statement if the schema is one that was made.
    async fn lend(&self, effect: &Effect) -> Result<bool> {
        let sql = effect.sql.as_bytes();
        let place = wording::place_of(sql).and_then(|place| String::from_utf8(place).ok());
        let place = place.filter(|place| self.schemas.contains(place));
        let (Some(schema), [owner]) = (place, &effect.roles[..]) else {
            return Ok(false);
        };
        let (schema, owner) = (identifier(&schema), identifier(owner));
        let client = &self.target.client;
        let lent = async {
            let grant = format!("GRANT CREATE ON SCHEMA {schema} TO {owner}");
            client.batch_execute(&grant).await?;
            self.target.statement(sql).await?;
            let revoke = format!("REVOKE CREATE ON SCHEMA {schema} FROM {owner}");
            Ok(client.batch_execute(&revoke).await?)
        };
        match guarded(client, lent).await {
            Err(error) if error.is_of_server() => Err(error),
            lent => Ok(lent.is_ok()),
        }
    }

    /// One that rows contradict holds for new rows only: those of the target, or of partitions that are not in the part,
    /// are others than the source's.
    async fn foreign_key(&mut self, sql: &str) -> Result<()> {
        match self.target.attempt(sql.as_bytes()).await {
            Err(error) if is_orphan(&error) && !sql.ends_with(" NOT VALID") => {
                let later = format!("{sql} NOT VALID");
                let what = match self.target.attempt(later.as_bytes()).await {
                    Ok(_) => "NOT VALID",
                    Err(_) => "not there",
                };
                self.odd
                    .push(format!("a foreign key is {what}: {error}: {sql}"));
                Ok(())
            }
            done => done.map(drop),
        }
    }
}

/// Triggers and foreign keys of tables that are in use hold for the rows.
async fn ensure_origin(target: &Session, rights: &Rights) -> Result<()> {
    if !rights.lacks_setting("session_replication_role") {
        let set = "SET LOCAL session_replication_role = origin";
        return Ok(target.client.batch_execute(set).await?);
    }
    let query = "SELECT pg_catalog.current_setting('session_replication_role')";
    let rows = target.client.query_typed(query, &[]).await?;
    let role: String = rows[0].try_get(0)?;
    if role == "origin" {
        return Ok(());
    }
    let message = format!("session_replication_role is \"{role}\" for the role of --target, which may not change it: neither triggers nor foreign keys of the target would hold");
    let hint = "Let a superuser run ALTER ROLE … RESET session_replication_role.";
    Err(Error::failed(message, hint))
}
