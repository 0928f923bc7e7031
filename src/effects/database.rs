//! What a statement about much else did to the database itself: REASSIGN OWNED gives it another owner, DROP OWNED takes
//! privileges on it. It has another name where it is restored. What PUBLIC may is left as it is: no statement of
//! these kinds changes it, and a restore keeps others out by it.

use effects::text::{do_block, literal, quoted};
use effects::{Effect, Key, Source};
use serde::Deserialize;

use super::source::Catalogs;

/// pg_database.
pub const CLASS: u32 = 1262;

const QUERY: &str = "SELECT d.oid, pg_catalog.json_build_object('owner', pg_catalog.pg_get_userbyid(d.datdba), \
     'grants', ARRAY (SELECT pg_catalog.json_build_object('grantor', pg_catalog.pg_get_userbyid(a.grantor), \
       'grantee', pg_catalog.pg_get_userbyid(a.grantee), 'privilege', a.privilege_type, \
       'with_option', a.is_grantable) \
       FROM pg_catalog.aclexplode(d.datacl) a WHERE a.grantee NOT IN (0, d.datdba)))::pg_catalog.text \
     FROM pg_catalog.pg_database d WHERE d.oid = ANY ($1)";

#[derive(Deserialize)]
struct Database {
    owner: String,
    grants: Vec<Grant>,
}

#[derive(Deserialize)]
struct Grant {
    grantor: String,
    grantee: String,
    privilege: String,
    with_option: bool,
}

/// A statement that gives it the owner and the privileges that it has under the catalogs in force.
pub fn state(database: u32) -> Result<Option<Effect>, String> {
    let rows = Catalogs { known: None }.read(QUERY, &[database])?;
    let Some((_, json)) = rows.first() else {
        return Ok(None);
    };
    let found: Database = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let mut roles = vec![found.owner.clone()];
    let grants = found.grants.iter();
    roles.extend(grants.flat_map(|grant| [grant.grantor.clone(), grant.grantee.clone()]));
    roles.sort_unstable();
    roles.dedup();
    Ok(Some(Effect {
        key: Key::new(CLASS, database),
        class: "database",
        verb: "alter",
        identity: String::new(),
        needs: Vec::new(),
        roles,
        tablespace: None,
        grantor: None,
        sql: do_block(&body(&found)),
    }))
}

fn body(database: &Database) -> String {
    let about = |before: &str, after: &str| {
        let (before, after) = (literal(before), literal(after));
        format!(
            "EXECUTE pg_catalog.concat({before}, pg_catalog.quote_ident(pg_catalog.current_database()), {after}); "
        )
    };
    let owner = quoted(&database.owner);
    let mut body = String::from("DECLARE r record; BEGIN ");
    body += &about("ALTER DATABASE ", &format!(" OWNER TO {owner}"));
    body += "FOR r IN SELECT DISTINCT pg_catalog.pg_get_userbyid(a.grantee) AS name \
             FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a \
             WHERE d.datname = pg_catalog.current_database() AND a.grantee NOT IN (0, d.datdba) \
             LOOP EXECUTE pg_catalog.format('REVOKE ALL ON DATABASE %I FROM %I CASCADE', \
             pg_catalog.current_database(), r.name); END LOOP; ";
    for grant in &database.grants {
        let option = if grant.with_option {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        let to = format!(" TO {}{option}", quoted(&grant.grantee));
        let text = about(&format!("GRANT {} ON DATABASE ", grant.privilege), &to);
        if grant.grantor == database.owner {
            body += &text;
        } else {
            let grantor = quoted(&grant.grantor);
            body += &format!("SET LOCAL ROLE {grantor}; {text}SET LOCAL ROLE NONE; ");
        }
    }
    body + "END"
}
