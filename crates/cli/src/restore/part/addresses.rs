//! Objects in terms that another database understands, and those of the same address there.
//!
//! Only catalogs are read, so nothing live is locked, and nothing is made there to ask with: not even a temporary
//! function, which would need a privilege and fire event triggers.

use effects::key::{catalog, Key};
use tokio_postgres::types::{ToSql, Type};

use crate::connection::Session;
use crate::error::Result;

/// An object of the scratch database.
#[derive(Debug, Clone)]
pub struct Address {
    pub key: Key,
    /// As pg_identify_object_as_address says it; arrays as text.
    kind: String,
    names: String,
    args: String,
    /// Its unqualified name, as its catalog has it.
    name: String,
    /// As pg_describe_object calls it.
    pub what: String,
}

/// A catalog, by the OID of it, with its columns of names and owners.
struct Catalog {
    class: u32,
    name: &'static str,
    names: Option<&'static str>,
    owners: Option<&'static str>,
}

const fn owned(
    class: u32,
    name: &'static str,
    names: &'static str,
    owners: &'static str,
) -> Catalog {
    Catalog {
        class,
        name,
        names: Some(names),
        owners: Some(owners),
    }
}

const fn free(class: u32, name: &'static str, names: Option<&'static str>) -> Catalog {
    Catalog {
        class,
        name,
        names,
        owners: None,
    }
}

/// Those of which something can be needed, and be there by itself.
const CATALOGS: [Catalog; 20] = [
    owned(catalog::CLASS, "pg_class", "relname", "relowner"),
    owned(catalog::TYPE, "pg_type", "typname", "typowner"),
    owned(catalog::PROC, "pg_proc", "proname", "proowner"),
    owned(catalog::NAMESPACE, "pg_namespace", "nspname", "nspowner"),
    owned(catalog::OPERATOR, "pg_operator", "oprname", "oprowner"),
    owned(catalog::OPCLASS, "pg_opclass", "opcname", "opcowner"),
    owned(catalog::OPFAMILY, "pg_opfamily", "opfname", "opfowner"),
    owned(catalog::COLLATION, "pg_collation", "collname", "collowner"),
    owned(catalog::CONVERSION, "pg_conversion", "conname", "conowner"),
    owned(catalog::LANGUAGE, "pg_language", "lanname", "lanowner"),
    owned(
        catalog::FOREIGN_SERVER,
        "pg_foreign_server",
        "srvname",
        "srvowner",
    ),
    owned(
        catalog::FOREIGN_DATA_WRAPPER,
        "pg_foreign_data_wrapper",
        "fdwname",
        "fdwowner",
    ),
    owned(catalog::TS_DICT, "pg_ts_dict", "dictname", "dictowner"),
    owned(catalog::TS_CONFIG, "pg_ts_config", "cfgname", "cfgowner"),
    owned(
        catalog::STATISTIC_EXT,
        "pg_statistic_ext",
        "stxname",
        "stxowner",
    ),
    free(catalog::TS_PARSER, "pg_ts_parser", Some("prsname")),
    free(catalog::TS_TEMPLATE, "pg_ts_template", Some("tmplname")),
    free(catalog::AM, "pg_am", Some("amname")),
    free(catalog::CAST, "pg_cast", None),
    free(catalog::TRANSFORM, "pg_transform", None),
];

const ADDRESSES: &str = "SELECT k.class, k.oid, a.type, a.object_names::pg_catalog.text, \
        coalesce(a.object_args::pg_catalog.text, '{}'), coalesce(t.typname::pg_catalog.text, \
            a.object_names[pg_catalog.array_upper(a.object_names, 1)], ''), \
        pg_catalog.pg_describe_object(k.class, k.oid, 0) \
    FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS k (class, oid) \
    LEFT JOIN pg_catalog.pg_type AS t ON k.class = 1247 AND t.oid = k.oid, \
    LATERAL pg_catalog.pg_identify_object_as_address(k.class, k.oid, 0) AS a \
    WHERE a.type IS NOT NULL AND a.object_names IS NOT NULL";

/// Those of objects; both sessions' client_encoding is UTF8.
pub async fn of(scratch: &Session, keys: &[Key]) -> Result<Vec<Address>> {
    let classes: Vec<u32> = keys.iter().map(|key| key.class).collect();
    let oids: Vec<u32> = keys.iter().map(|key| key.oid).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&classes, Type::OID_ARRAY), (&oids, Type::OID_ARRAY)];
    let rows = scratch.client.query_typed(ADDRESSES, &parameters).await?;
    let address = |row: &tokio_postgres::Row| {
        Ok(Address {
            key: Key::new(row.try_get(0)?, row.try_get(1)?),
            kind: row.try_get(2)?,
            names: row.try_get(3)?,
            args: row.try_get(4)?,
            name: row.try_get(5)?,
            what: row.try_get(6)?,
        })
    };
    rows.iter().map(address).collect()
}

/// Which of them the target has: by their places in the list, with their OIDs there.
pub async fn there(target: &Session, addresses: &[Address]) -> Result<Vec<(usize, u32)>> {
    let mut found = Vec::new();
    for Catalog {
        class, name, names, ..
    } in CATALOGS
    {
        let of_class = addresses.iter().enumerate();
        let of_class = of_class.filter(|(_, address)| address.key.class == class);
        let (places, wanted): (Vec<usize>, Vec<&Address>) = of_class.unzip();
        if wanted.is_empty() {
            continue;
        }
        let texts = |of: fn(&Address) -> &String| -> Vec<String> {
            wanted.iter().map(|address| of(address).clone()).collect()
        };
        let is_named = names.map_or("cardinality($4) > 0".to_owned(), |column| {
            format!("c.{column}::pg_catalog.text = ANY ($4)")
        });
        let query = format!(
            "SELECT w.n, c.oid FROM pg_catalog.{name} AS c, \
                LATERAL pg_catalog.pg_identify_object_as_address('pg_catalog.{name}'::pg_catalog.regclass, c.oid, 0) AS a, \
                ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
                    WITH ORDINALITY AS w (kind, names, args, n) \
            WHERE {is_named} AND a.type = w.kind AND a.object_names::pg_catalog.text = w.names \
                AND coalesce(a.object_args::pg_catalog.text, '{{}}') = w.args"
        );
        let (kinds, names) = (texts(|it| &it.kind), texts(|it| &it.names));
        let (args, plain) = (texts(|it| &it.args), texts(|it| &it.name));
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&kinds, Type::TEXT_ARRAY),
            (&names, Type::TEXT_ARRAY),
            (&args, Type::TEXT_ARRAY),
            (&plain, Type::TEXT_ARRAY),
        ];
        for row in target.client.query_typed(&query, &parameters).await? {
            let number: i64 = row.try_get(0)?;
            let place = usize::try_from(number - 1).ok();
            let place = place.and_then(|place| places.get(place));
            found.extend(place.copied().zip(row.try_get::<_, u32>(1).ok()));
        }
    }
    Ok(found)
}

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub name: String,
    /// A superuser: nobody who could gain by it. (The owner of a database need not be one.)
    pub is_above: bool,
}

/// The owners of a class's objects; those that have none are missing.
pub async fn owners(session: &Session, class: u32, oids: &[u32]) -> Result<Vec<(u32, Owner)>> {
    let catalog = CATALOGS.iter().find(|it| it.class == class);
    let Some((name, column)) = catalog.and_then(|it| Some((it.name, it.owners?))) else {
        return Ok(Vec::new());
    };
    let query = format!(
        "SELECT c.oid, r.rolname::pg_catalog.text, r.rolsuper OR r.rolname = 'pg_database_owner' AND o.rolsuper \
        FROM pg_catalog.{name} AS c JOIN pg_catalog.pg_roles AS r ON r.oid = c.{column}, \
            pg_catalog.pg_database AS d JOIN pg_catalog.pg_roles AS o ON o.oid = d.datdba \
        WHERE c.oid = ANY ($1) AND d.datname = pg_catalog.current_database()"
    );
    let oids = oids.to_vec();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    let rows = session.client.query_typed(&query, &parameters).await?;
    let owner = |row: &tokio_postgres::Row| {
        let name = row.try_get(1)?;
        let is_above = row.try_get(2)?;
        Ok((row.try_get(0)?, Owner { name, is_above }))
    };
    rows.iter().map(owner).collect()
}
