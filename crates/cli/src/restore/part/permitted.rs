//! What a role that is no superuser may do in the target: asked of the catalogs, before anything is made there.
//!
//! A statement that is refused would have said so, too, but in a transaction that has fired event triggers and has locks
//! in a live database, behind all the work in the scratch database.

use effects::key::{catalog, Key};
use tokio_postgres::types::{ToSql, Type};

use super::existing::Existing;
use super::options::{Options, Section};
use crate::connection::Session;
use crate::error::{Error, Result};
use crate::quote::identifier;
use crate::restore::rights::Role;

/// Of the part, as far as it is known from the archive.
pub struct Named<'a> {
    /// Not quoted.
    pub schemas: &'a [String],
    /// In SQL.
    pub tables: &'a [String],
}

const SCHEMAS: &str = "SELECT s.name, n.oid IS NOT NULL, coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), true), \
        CASE WHEN n.oid IS NULL THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
            ELSE pg_catalog.has_schema_privilege(n.oid, 'CREATE') END, pg_catalog.quote_ident(pg_catalog.current_database()) \
    FROM pg_catalog.unnest($1) AS s (name) LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = s.name ORDER BY 1";

const TABLES: &str = "SELECT t.name, pg_catalog.has_any_column_privilege(c.oid, 'INSERT'), \
        pg_catalog.row_security_active(c.oid), pg_catalog.pg_has_role(c.relowner, 'USAGE') \
    FROM pg_catalog.unnest($1) AS t (name) JOIN pg_catalog.pg_class AS c ON c.oid = pg_catalog.to_regclass(t.name) \
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1";

/// Refuses what the names of the part show.
pub async fn ensure_at_first(
    target: &Session,
    role: &Role,
    named: &Named<'_>,
    options: &Options,
) -> Result<()> {
    ensure_schemas(target, role, named.schemas, options.has(Section::PreData)).await?;
    if options.has(Section::PreData) {
        return Ok(());
    }
    let tables = named.tables.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&tables, Type::TEXT_ARRAY)];
    for row in target.client.query_typed(TABLES, &parameters).await? {
        let table: String = row.try_get(0)?;
        let (may_insert, is_secured, is_owner): (bool, bool, bool) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        if options.has(Section::Data) {
            if !may_insert {
                return Err(no_insert(role, &table));
            }
            if is_secured {
                return Err(secured(role, &table));
            }
        }
        if options.has(Section::PostData) && !is_owner {
            let message = format!("the role \"{}\" does not own {table}", role.name);
            let hint = "Only its owner, or a member, makes indexes, constraints and triggers: restore as that role. Nothing was changed.";
            return Err(Error::failed(message, hint));
        }
    }
    Ok(())
}

fn no_insert(role: &Role, table: &str) -> Error {
    let name = &role.name;
    let message = format!("the role \"{name}\" may not insert into {table}");
    let hint = format!(
        "GRANT INSERT ON {table} TO {}. Nothing was changed.",
        identifier(name)
    );
    Error::failed(message, hint)
}

/// COPY ends with an error where a policy could hide or refuse rows (row_security = off).
fn secured(role: &Role, table: &str) -> Error {
    let message = format!(
        "row-level security of {table} applies to the role \"{}\"",
        role.name
    );
    let hint = "Rows are restored by a role to which it does not apply: the owner of the table, unless it is forced, or one with \
                BYPASSRLS. Nothing was changed.";
    Error::failed(message, hint)
}

/// Refuses schemas in which the role may use, or make, nothing; and those that it may not make.
async fn ensure_schemas(
    target: &Session,
    role: &Role,
    names: &[String],
    makes: bool,
) -> Result<()> {
    let names = names.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&names, Type::TEXT_ARRAY)];
    for row in target.client.query_typed(SCHEMAS, &parameters).await? {
        let name: String = row.try_get(0)?;
        let (is_there, may_use, may_make): (bool, bool, bool) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let (schema, quoted) = (identifier(&name), identifier(&role.name));
        let (what, grant) = if !may_use {
            (
                format!("use the schema {schema}"),
                format!("USAGE ON SCHEMA {schema}"),
            )
        } else if !makes || may_make {
            continue;
        } else if is_there {
            (
                format!("create anything in the schema {schema}"),
                format!("CREATE ON SCHEMA {schema}"),
            )
        } else {
            (
                format!("create the schema {schema}"),
                format!("CREATE ON DATABASE {}", row.try_get::<_, String>(4)?),
            )
        };
        let message = format!(
            "the role \"{}\" may not {what} in the target database",
            role.name
        );
        let hint = format!("GRANT {grant} TO {quoted}. Nothing was changed.");
        return Err(Error::failed(message, hint));
    }
    Ok(())
}

/// The schemas of objects.
const SCHEMAS_OF: &str = "SELECT DISTINCT n.nspname::text \
    FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (class, oid), \
        LATERAL pg_catalog.pg_identify_object(k.class, k.oid, 0) AS i \
        JOIN pg_catalog.pg_namespace AS n ON pg_catalog.quote_ident(n.nspname) = i.schema \
    WHERE n.nspname !~ '^pg_' ORDER BY 1";

/// Refuses definitions that need a privilege in the target which the role does not have. `makes`: what is made there;
/// `called`: functions of triggers among what exists there.
pub async fn ensure_may_make(
    scratch: &Session,
    target: &Session,
    role: &Role,
    makes: &[Key],
    (existing, called): (&Existing, &[Key]),
) -> Result<()> {
    let classes: Vec<u32> = makes.iter().map(|key| key.class).collect();
    let oids: Vec<u32> = makes.iter().map(|key| key.oid).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&classes, Type::OID_ARRAY), (&oids, Type::OID_ARRAY)];
    let rows = scratch.client.query_typed(SCHEMAS_OF, &parameters).await?;
    let schemas = rows.iter().map(|row| Ok(row.try_get(0)?));
    let schemas: Vec<String> = schemas.collect::<Result<_>>()?;
    ensure_schemas(target, role, &schemas, true).await?;
    let of = |class: u32| -> Vec<u32> {
        let there = existing.there.iter().filter(|(key, _)| key.class == class);
        there.map(|(_, oid)| *oid).collect()
    };
    let functions: Vec<u32> = called
        .iter()
        .filter_map(|key| existing.there.get(key).copied())
        .collect();
    for (oids, refused) in [
        (
            of(catalog::NAMESPACE),
            "SELECT 'schema ' || pg_catalog.quote_ident(nspname), 'USAGE' FROM pg_catalog.pg_namespace \
             WHERE oid = ANY ($1) AND NOT pg_catalog.has_schema_privilege(oid, 'USAGE')",
        ),
        (
            of(catalog::TYPE),
            "SELECT 'type ' || pg_catalog.format_type(oid, NULL), 'USAGE' FROM pg_catalog.pg_type \
             WHERE oid = ANY ($1) AND typcategory <> 'A' AND NOT pg_catalog.has_type_privilege(oid, 'USAGE')",
        ),
        (
            functions,
            "SELECT 'function ' || oid::pg_catalog.regprocedure::pg_catalog.text, 'EXECUTE' FROM pg_catalog.pg_proc \
             WHERE oid = ANY ($1) AND NOT pg_catalog.has_function_privilege(oid, 'EXECUTE')",
        ),
        (
            of(catalog::LANGUAGE),
            "SELECT 'language ' || pg_catalog.quote_ident(lanname), 'USAGE' FROM pg_catalog.pg_language \
             WHERE oid = ANY ($1) AND NOT pg_catalog.has_language_privilege(oid, 'USAGE')",
        ),
        (
            of(catalog::FOREIGN_SERVER),
            "SELECT 'foreign server ' || pg_catalog.quote_ident(srvname), 'USAGE' FROM pg_catalog.pg_foreign_server \
             WHERE oid = ANY ($1) AND NOT pg_catalog.has_server_privilege(oid, 'USAGE')",
        ),
    ] {
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
        let rows = target.client.query_typed(refused, &parameters).await?;
        if let Some(row) = rows.first() {
            let (what, privilege): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let message = format!("the part needs the {what} of the target, which the role \"{}\" may not use", role.name);
            let hint = format!("GRANT {privilege} ON {what} TO {}. Nothing was changed.", identifier(&role.name));
            return Err(Error::failed(message, hint));
        }
    }
    ensure_extensions(target, role, existing).await
}

/// Refuses extensions that the target does not have, and that the role may not create.
async fn ensure_extensions(target: &Session, role: &Role, existing: &Existing) -> Result<()> {
    const REFUSED: &str = "SELECT e.name FROM pg_catalog.unnest($1) AS e (name) \
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions AS a \
            JOIN pg_catalog.pg_available_extension_versions AS v ON v.name = a.name AND v.version = a.default_version \
            WHERE a.name = e.name AND (v.trusted OR NOT v.superuser)) \
        OR NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') ORDER BY 1";
    let names: Vec<&str> = existing
        .extensions
        .iter()
        .map(|(name, _)| &name[..])
        .collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&names, Type::TEXT_ARRAY)];
    let rows = target.client.query_typed(REFUSED, &parameters).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let name = identifier(row.try_get(0)?);
    let message = format!(
        "the part needs the extension {name}, which the target does not have and the role \"{}\" may not create there",
        role.name
    );
    let hint =
        format!("Let somebody run CREATE EXTENSION {name} in the target. Nothing was changed.");
    Err(Error::failed(message, hint))
}

/// Refuses a table into whose columns the role may not insert, or whose rows a policy could hide.
pub async fn ensure_may_insert(
    target: &Session,
    role: &Role,
    table: &str,
    columns: &[String],
) -> Result<()> {
    const MAY: &str = "SELECT pg_catalog.row_security_active(c.oid), pg_catalog.has_table_privilege(c.oid, 'INSERT') \
            OR pg_catalog.cardinality($2) > 0 \
                AND (SELECT pg_catalog.bool_and(pg_catalog.has_column_privilege(c.oid, n, 'INSERT')) FROM pg_catalog.unnest($2) AS n) \
        FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass($1)";
    let columns = columns.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&table, Type::TEXT), (&columns, Type::TEXT_ARRAY)];
    let rows = target.client.query_typed(MAY, &parameters).await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    if !row.try_get::<_, bool>(1)? {
        return Err(no_insert(role, table));
    }
    if row.try_get(0)? {
        return Err(secured(role, table));
    }
    Ok(())
}

/// An owner needs CREATE on the schema of an object: those of `owners`, each with a schema (both not quoted), that lack
/// it in a schema that the target has, and on which it is not this restore's to give.
pub async fn owners_refused(
    target: &Session,
    owners: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    const REFUSED: &str = "SELECT o.schema, o.role \
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS o (schema, role) \
        JOIN pg_catalog.pg_namespace AS n ON n.nspname = o.schema JOIN pg_catalog.pg_roles AS r ON r.rolname = o.role \
        WHERE NOT pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE')";
    let (schemas, roles): (Vec<String>, Vec<String>) = owners.iter().cloned().unzip();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schemas, Type::TEXT_ARRAY), (&roles, Type::TEXT_ARRAY)];
    let rows = target.client.query_typed(REFUSED, &parameters).await?;
    let row = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(row).collect()
}
