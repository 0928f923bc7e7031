//! Properties of a database beside the dump: `database.sql` and the facts for `metadata.json`.
//!
//! `database.sql` contains what pg_dump writes only with `--create`: owner, comment, privileges, settings. In
//! a base it also contains what the dump omits. The database name is the psql variable `dbname`. Everything
//! is read in one transaction, under the fence.

use archive::dump::Gone;
use archive::metadata::{DatabaseFacts, ExtensionFact, TypeFact};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

use super::{leave_out, temporary};
use crate::pg::failure::Failure;
use crate::pg::server;

/// Settings under which the data was created and that may change its meaning.
const SETTINGS: [&str; 13] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "array_nulls",
    "bytea_output",
    "data_checksums",
    "default_text_search_config",
    "extra_float_digits",
    "integer_datetimes",
    "lc_monetary",
    "server_encoding",
    "standard_conforming_strings",
    "xmloption",
];

/// Properties of the current database.
#[derive(Clone, Debug)]
pub struct Properties {
    /// Content of `database.sql`, in the database's encoding.
    pub database_sql: Vec<u8>,
    pub facts: DatabaseFacts,
    /// What the base leaves out.
    pub gone: Gone,
}

impl Properties {
    /// Reads all of them. Needs a transaction.
    pub fn collect() -> Result<Properties, Failure> {
        Spi::connect(|client| {
            temporary::ensure_none_is_needed(client)?;
            let mut facts = locale(client)?;
            for row in client.select(EXTENSIONS, None, &[])? {
                facts.extensions.push(ExtensionFact {
                    name: utf8(row.get(1)?),
                    version: utf8(row.get(2)?),
                    schema: utf8(row.get(3)?),
                });
            }
            for row in client.select(TYPES, None, &[])? {
                facts.types.push(TypeFact {
                    name: utf8(row.get(1)?),
                    kind: utf8(row.get(2)?),
                    definition: utf8(row.get(3)?),
                });
            }
            facts.roles = list(client, ROLES)?;
            facts.roles_by_oid = list(client, ROLES_BY_OID)?;
            facts.tablespaces = list(client, TABLESPACES)?;
            for name in SETTINGS {
                let value = format!("SELECT pg_catalog.current_setting('{name}', true)");
                if let Some(value) = client
                    .select(&value, None, &[])?
                    .first()
                    .get_one::<String>()?
                {
                    facts.settings.insert(name.to_string(), value);
                }
            }
            let mut database_sql = database_sql(client)?;
            if !client.select(BARE_PUBLIC, None, &[])?.is_empty() {
                database_sql.extend_from_slice(b"COMMENT ON SCHEMA public IS NULL;\n");
            }
            for row in client.select(DETACHED, None, &[])? {
                database_sql.extend(row.get::<Vec<u8>>(1)?.unwrap_or_default());
                database_sql.push(b'\n');
            }
            Ok(Properties {
                database_sql,
                facts,
                gone: leave_out::collect()?,
            })
        })
    }
}

/// `database.sql` as it would be written now, and the roles. Needs a transaction.
pub fn now() -> Result<(Vec<u8>, Roles), Failure> {
    Spi::connect(|client| {
        let roles = Roles {
            by_database_sql: list(client, DATABASE_ROLES)?,
            by_oid: list(client, ROLES_BY_OID)?,
        };
        Ok((database_sql(client)?, roles))
    })
}

/// The roles of a set of globals, beside its SQL.
pub struct Roles {
    /// Those that `database.sql` names.
    pub by_database_sql: Vec<String>,
    /// OID and name of every role, in the order of the OIDs.
    pub by_oid: Vec<String>,
}

/// A value that a query returns as `convert_to(…, 'UTF8')`.
pub fn list(client: &SpiClient<'_>, query: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for row in client.select(query, None, &[])? {
        found.push(utf8(row.get(1)?));
    }
    Ok(found)
}

/// Text queried as `convert_to(…, 'UTF8')`.
fn utf8(bytes: Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// Encoding and locale of the current database. Needs a transaction.
pub fn locale(client: &SpiClient<'_>) -> Result<DatabaseFacts, Failure> {
    let locale_column = if server::VERSION_NUM >= 170_000 {
        "datlocale"
    } else {
        "daticulocale"
    };
    let rules = if server::VERSION_NUM >= 160_000 {
        "daticurules"
    } else {
        "NULL::text"
    };
    let query = format!(
        "SELECT pg_catalog.convert_to(pg_catalog.version(), 'UTF8'), \
           pg_catalog.convert_to(datname::text, 'UTF8'), \
           pg_catalog.pg_encoding_to_char(encoding)::text, \
           CASE datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' ELSE 'builtin' END, \
           datcollate::text, datctype::text, {locale_column}::text, {rules}::text, \
           datcollversion::text \
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
    );
    let table = client.select(&query, Some(1), &[])?;
    let row = table.first();
    Ok(DatabaseFacts {
        server_version: utf8(row.get(1)?),
        database: utf8(row.get(2)?),
        encoding: row.get(3)?.unwrap_or_default(),
        locale_provider: row.get(4)?.unwrap_or_default(),
        lc_collate: row.get(5)?.unwrap_or_default(),
        lc_ctype: row.get(6)?.unwrap_or_default(),
        locale: row.get(7)?,
        icu_rules: row.get(8)?,
        collation_version: row.get(9)?,
        ..DatabaseFacts::default()
    })
}

fn database_sql(client: &SpiClient<'_>) -> Result<Vec<u8>, Failure> {
    let mut sql = b"-- Properties of the database that pg_dump leaves out.\n\
        -- Run with psql, the database's name in the variable dbname.\n\n"
        .to_vec();
    for row in client.select(DATABASE_SQL, None, &[])? {
        sql.extend(row.get::<Vec<u8>>(1)?.unwrap_or_default());
        sql.push(b'\n');
    }
    Ok(sql)
}

/// Schema public of a new database has a comment. If it has none, pg_dump writes that, but not with
/// --quote-all-identifiers (dumpNamespace of pg_dump.c compares the quoted name).
const BARE_PUBLIC: &str = "SELECT FROM pg_catalog.pg_namespace \
    WHERE nspname = 'public' AND pg_catalog.obj_description(oid, 'pg_namespace') IS NULL";

/// A partition whose DETACH … CONCURRENTLY has not finished is no longer visible in its parent, but pg_dump
/// attaches it. In the segments it is detached from that point on: FINALIZE has no effect in them. A restore
/// that leaves tables out has nothing to detach.
const DETACHED: &str = "SELECT pg_catalog.convert_to(pg_catalog.format('DO %L;', pg_catalog.format( \
      'BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = pg_catalog.to_regclass(%L) \
        AND inhparent = pg_catalog.to_regclass(%L)) \
        THEN ALTER TABLE ONLY %s DETACH PARTITION %s; END IF; END', \
      child.name, parent.name, parent.name, child.name)), pg_catalog.getdatabaseencoding()) \
    FROM pg_catalog.pg_inherits i, LATERAL (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name \
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.oid = i.inhrelid) AS child, \
      LATERAL (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name \
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.oid = i.inhparent) AS parent \
    WHERE i.inhdetachpending ORDER BY i.inhrelid";

/// Statements of `database.sql`, in order. A setting that holds a list of names is stored with its
/// items quoted already (pg_dump's variable_is_guc_list_quote), so each item is written by itself.
const DATABASE_SQL: &str = r#"
WITH d AS (SELECT * FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
config AS (
  SELECT s.setrole, c.n, pg_catalog.split_part(c.item, '=', 1) AS name,
    pg_catalog.substr(c.item, pg_catalog.strpos(c.item, '=') + 1) AS value
  FROM pg_catalog.pg_db_role_setting s JOIN d ON d.oid = s.setdatabase,
    pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c(item, n)),
quoted AS (
  SELECT setrole, n, name, CASE WHEN pg_catalog.lower(name) IN ('local_preload_libraries',
      'search_path', 'session_preload_libraries', 'shared_preload_libraries', 'temp_tablespaces',
      'unix_socket_directories')
    THEN CASE WHEN value = '' THEN '''''' ELSE (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(
        pg_catalog.replace(pg_catalog.regexp_replace(pg_catalog.btrim(i[1]), '^"(.*)"$', '\1'), '""', '"')),
        ', ') FROM pg_catalog.regexp_matches(value, '("(?:[^"]|"")*"|[^,"]+)', 'g') AS i
        WHERE pg_catalog.btrim(i[1]) <> '') END
    ELSE pg_catalog.quote_literal(value) END AS value
  FROM config),
grants AS (
  SELECT a.n, a.grantor, a.privilege_type, a.is_grantable, a.grantee, d.datdba
  FROM d, (SELECT pg_catalog.row_number() OVER () AS n, x.* FROM d AS e,
    pg_catalog.aclexplode(e.datacl) AS x) AS a)
SELECT pg_catalog.convert_to(line, pg_catalog.getdatabaseencoding()) FROM (
  SELECT 1 AS part, 0::bigint AS n, 'ALTER DATABASE :"dbname" OWNER TO '
    || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(datdba)) || ';' AS line FROM d
  UNION ALL SELECT 2, 0, 'COMMENT ON DATABASE :"dbname" IS '
    || pg_catalog.quote_literal(pg_catalog.shobj_description(oid, 'pg_database')) || ';' FROM d
  UNION ALL SELECT 3, 0, 'ALTER DATABASE :"dbname" CONNECTION LIMIT ' || datconnlimit || ';' FROM d
    WHERE datconnlimit > -1
  UNION ALL SELECT 4, 0, 'REVOKE ALL ON DATABASE :"dbname" FROM PUBLIC;' FROM d
    WHERE datacl IS NOT NULL
  UNION ALL SELECT 5, 0, 'REVOKE ALL ON DATABASE :"dbname" FROM '
    || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(datdba)) || ';' FROM d
    WHERE datacl IS NOT NULL
  UNION ALL SELECT 6, n, CASE WHEN grantor <> datdba THEN 'SET SESSION AUTHORIZATION '
      || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantor)) || '; ' ELSE '' END
    || 'GRANT ' || privilege_type || ' ON DATABASE :"dbname" TO '
    || CASE grantee WHEN 0 THEN 'PUBLIC'
       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END
    || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END || ';'
    || CASE WHEN grantor <> datdba THEN ' RESET SESSION AUTHORIZATION;' ELSE '' END FROM grants
  UNION ALL SELECT 7, n, 'ALTER DATABASE :"dbname" SET ' || pg_catalog.quote_ident(name) || ' TO '
    || value || ';' FROM quoted WHERE setrole = 0
  UNION ALL SELECT 8, n, 'ALTER ROLE ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(setrole))
    || ' IN DATABASE :"dbname" SET ' || pg_catalog.quote_ident(name) || ' TO ' || value || ';'
    FROM quoted WHERE setrole <> 0
  UNION ALL SELECT 9, 0, 'SECURITY LABEL FOR ' || pg_catalog.quote_ident(l.provider)
    || ' ON DATABASE :"dbname" IS ' || pg_catalog.quote_literal(l.label) || ';'
    FROM d JOIN pg_catalog.pg_shseclabel l ON l.objoid = d.oid
      AND l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass
) AS lines WHERE line IS NOT NULL ORDER BY part, n
"#;

const EXTENSIONS: &str = "SELECT pg_catalog.convert_to(e.extname::text, 'UTF8'), \
    pg_catalog.convert_to(e.extversion, 'UTF8'), pg_catalog.convert_to(n.nspname::text, 'UTF8') \
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
    WHERE e.extname <> 'pg_incrbackup' ORDER BY e.extname";

const TYPES: &str = "SELECT pg_catalog.convert_to(pg_catalog.quote_ident(n.nspname) || '.' \
      || pg_catalog.quote_ident(t.typname), 'UTF8'), pg_catalog.convert_to(CASE t.typtype \
      WHEN 'e' THEN 'enum' WHEN 'c' THEN 'composite' ELSE 'domain' END, 'UTF8'), \
    pg_catalog.convert_to(coalesce(CASE t.typtype \
      WHEN 'e' THEN (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(v.enumlabel), ', ' \
        ORDER BY v.enumsortorder) FROM pg_catalog.pg_enum v WHERE v.enumtypid = t.oid) \
      WHEN 'c' THEN (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname) || ' ' \
        || pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) \
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 \
        AND NOT a.attisdropped) \
      ELSE pg_catalog.format_type(t.typbasetype, t.typtypmod) END, ''), 'UTF8') \
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
    LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
    WHERE t.typtype IN ('e', 'c', 'd') AND (t.typtype <> 'c' OR c.relkind = 'c') \
      AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
    ORDER BY n.nspname, t.typname";

/// Tablespaces that relations of this database are in (empty tables and partitioned ones too, which
/// have no file: pg_tablespace_databases() would miss them), and the database's own.
const TABLESPACES: &str = "SELECT pg_catalog.convert_to(s.spcname::text, 'UTF8') \
    FROM pg_catalog.pg_tablespace s WHERE s.oid >= 16384 AND s.oid IN \
      (SELECT c.reltablespace FROM pg_catalog.pg_class c) ORDER BY s.spcname";

/// Roles that own something or have privileges in this database, according to pg_shdepend; the bootstrap
/// superuser, which has no entries there, is always included.
const ROLES: &str = "SELECT pg_catalog.convert_to(r.rolname::text, 'UTF8') FROM pg_catalog.pg_roles r \
    WHERE r.rolname NOT LIKE 'pg\\_%' AND (r.oid = 10 OR r.oid IN (SELECT d.refobjid \
      FROM pg_catalog.pg_shdepend d WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
      AND (d.dbid = 0 OR d.dbid = (SELECT oid FROM pg_catalog.pg_database \
        WHERE datname = pg_catalog.current_database())) \
      AND (d.dbid <> 0 OR d.objid = (SELECT oid FROM pg_catalog.pg_database \
        WHERE datname = pg_catalog.current_database())))) ORDER BY r.rolname";

/// All roles of the cluster: a name can be invalid in this database's encoding, which convert_to rejects and
/// textsend does not check.
const ROLES_BY_OID: &str = "SELECT CASE WHEN pg_catalog.getdatabaseencoding() = 'UTF8' \
    THEN pg_catalog.textsend(oid || ' ' || rolname) ELSE pg_catalog.convert_to(oid || ' ' || rolname, 'UTF8') END \
    FROM pg_catalog.pg_authid WHERE oid >= 16384 OR oid = 10 ORDER BY oid";

/// The owner, and roles that have privileges on the database, granted some, or have settings in it.
const DATABASE_ROLES: &str = "SELECT DISTINCT pg_catalog.convert_to(r.rolname::text, 'UTF8') \
    FROM pg_catalog.pg_database d CROSS JOIN LATERAL (SELECT d.datdba \
      UNION SELECT a.grantee FROM pg_catalog.aclexplode(d.datacl) AS a \
      UNION SELECT a.grantor FROM pg_catalog.aclexplode(d.datacl) AS a \
      UNION SELECT s.setrole FROM pg_catalog.pg_db_role_setting s WHERE s.setdatabase = d.oid \
    ) AS named (role) JOIN pg_catalog.pg_roles r ON r.oid = named.role \
    WHERE d.datname = pg_catalog.current_database() ORDER BY 1";
