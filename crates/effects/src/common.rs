//! What all classes read and write in the same way: owner, privileges, comment, security labels,
//! dependencies.

pub mod read;

use serde::Deserialize;

use crate::acl::{Acl, Grant};
use crate::key::Key;
use crate::object::Object;
use crate::script::Script;
use crate::states::Source;
use crate::text::literal;

/// The part of a model that [`crate::common_columns`] reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Common {
    /// Quoted; `None` for objects without an owner.
    pub owner: Option<String>,
    #[serde(default)]
    pub acl: Option<Vec<Grant>>,
    /// The privileges of a new object of this owner.
    #[serde(default)]
    pub default_acl: Option<Vec<Grant>>,
    #[serde(default)]
    pub comment: Option<String>,
    /// Provider and label.
    #[serde(default)]
    pub labels: Option<Vec<(String, String)>>,
    /// The extension that it is a member of, quoted.
    #[serde(default)]
    pub extension: Option<String>,
    /// Extensions with which it is dropped (ALTER … DEPENDS ON EXTENSION), quoted.
    #[serde(default)]
    pub goes_with: Option<Vec<String>>,
    /// Its dependencies: normal, automatic, internal and partition dependencies of it and of its parts.
    #[serde(default)]
    pub needs: Option<Vec<Key>>,
}

impl Common {
    pub fn needs(&self) -> &[Key] {
        self.needs.as_deref().unwrap_or_default()
    }

    /// The privileges, or those of a new object if they were never changed.
    pub fn acl(&self) -> Acl<'_> {
        let grants = self.acl.as_ref().or(self.default_acl.as_ref());
        Acl(grants.map_or(&[], Vec::as_slice))
    }
}

/// The columns of [`Common`] for an object of catalog `$class` (OID as text) whose OID is `$oid`. `$owner`
/// is an expression of type oid or `NULL::oid`, `$acl` one of aclitem[] or NULL, `$kind` the letter of
/// acldefault or NULL.
#[macro_export]
macro_rules! common_columns {
    ($class:literal, $oid:literal, $owner:literal, $acl:literal, $kind:literal) => {
        $crate::common_columns!($class, $oid, $owner, $acl, $kind, $crate::needs!($class, $oid))
    };
    // `$needs` if its parts have dependencies, too ([`needs_of_parts`]).
    ($class:literal, $oid:literal, $owner:literal, $acl:literal, $kind:literal, $needs:expr) => {
        concat!(
            "pg_catalog.json_build_object(\
             'owner', (SELECT pg_catalog.quote_ident(o.rolname) FROM pg_catalog.pg_roles o WHERE o.oid = ", $owner, "), \
             'acl', ", $crate::grants!($acl), ", \
             'default_acl', CASE WHEN ", $owner, " IS NOT NULL AND (", $kind, ")::\"char\" IS NOT NULL THEN ",
            $crate::grants!(concat!("pg_catalog.acldefault((", $kind, ")::\"char\", ", $owner, ")")), " END, \
             'comment', (SELECT x.description FROM pg_catalog.pg_description x \
                WHERE x.objoid = ", $oid, " AND x.classoid = ", $class, " AND x.objsubid = 0), \
             'labels', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(x.provider, x.label) ORDER BY x.provider) \
                FROM pg_catalog.pg_seclabel x WHERE x.objoid = ", $oid, " AND x.classoid = ", $class, " AND x.objsubid = 0), \
             'extension', (SELECT pg_catalog.quote_ident(xe.extname) FROM pg_catalog.pg_depend x \
                JOIN pg_catalog.pg_extension xe ON xe.oid = x.refobjid \
                WHERE x.classid = ", $class, " AND x.objid = ", $oid, " AND x.objsubid = 0 AND x.deptype = 'e' LIMIT 1), \
             'goes_with', (SELECT pg_catalog.json_agg(pg_catalog.quote_ident(xe.extname) ORDER BY xe.extname) FROM pg_catalog.pg_depend x \
                JOIN pg_catalog.pg_extension xe ON xe.oid = x.refobjid AND x.refclassid = 3079 \
                WHERE x.classid = ", $class, " AND x.objid = ", $oid, " AND x.deptype = 'x'), \
             'needs', ", $needs, ") AS common"
        )
    };
}

/// An aclitem[] as an array of [`Grant`]s in its own order, or NULL: an empty one is not NULL, but the result
/// of the owner's REVOKE.
#[macro_export]
macro_rules! grants {
    ($acl:expr) => {
        concat!(
            "CASE WHEN (", $acl, ") IS NOT NULL THEN coalesce((SELECT pg_catalog.json_agg(pg_catalog.json_build_object(\
             'grantee', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, \
             'grantor', pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantor)), \
             'privilege', a.privilege_type, 'grantable', a.is_grantable) ORDER BY a.ordinality) \
             FROM ROWS FROM (pg_catalog.aclexplode(", $acl, ")) WITH ORDINALITY \
             AS a (grantor, grantee, privilege_type, is_grantable, ordinality)), '[]') END"
        )
    };
}

/// The dependencies of an object, as an array of `[class, oid]`.
#[macro_export]
macro_rules! needs {
    ($class:literal, $oid:literal) => {
        concat!(
            "(SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(\
             x.refclassid::pg_catalog.int8, x.refobjid::pg_catalog.int8)) FROM pg_catalog.pg_depend x \
             WHERE x.classid = ", $class, " AND x.objid = ", $oid, " AND x.deptype IN ('n', 'a', 'i', 'P', 'S'))"
        )
    };
}

/// The same for an object and its parts: `$parts` is a query of their catalogs and OIDs.
#[macro_export]
macro_rules! needs_of_parts {
    ($parts:expr) => {
        concat!(
            "(SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(\
             x.refclassid::pg_catalog.int8, x.refobjid::pg_catalog.int8)) FROM (",
            $parts,
            ") part (class, oid) \
             JOIN pg_catalog.pg_depend x ON x.classid = part.class AND x.objid = part.oid \
             WHERE x.deptype IN ('n', 'a', 'i', 'P', 'S'))"
        )
    };
}

/// The roles in default privileges: also those whose own privileges on their new objects are reduced. `$1` is
/// any OID.
const DEFAULT_GRANTEES: &str = "SELECT pg_catalog.min(r.oid), r.role FROM (\
     SELECT d.oid, CASE a.grantee WHEN 0 THEN 'PUBLIC' \
     ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END::pg_catalog.text AS role \
     FROM pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) a \
     UNION ALL SELECT d.oid, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(d.defaclrole)) \
     FROM pg_catalog.pg_default_acl d) r WHERE $1 IS NOT NULL GROUP BY r.role";

/// The value of [`crate::Context::default_grantees`].
pub fn default_grantees<S: Source>(source: &mut S) -> Result<Vec<String>, S::Error> {
    let rows = source.read(DEFAULT_GRANTEES, &[0])?;
    Ok(rows.into_iter().map(|(_, role)| role).collect())
}

/// Statements that follow the CREATE of a new object, or that change an object's owner, privileges, comment
/// and labels to those of `after`. `others` are the roles to which default privileges may have granted
/// something.
pub fn finish<T: Object>(before: Option<&T>, after: &T, others: &[String], script: &mut Script) {
    let (kind, target) = (after.kind(), after.target());
    let (old, new) = (before.map(Object::common), after.common());
    let is_new_owner = old.is_none_or(|old| old.owner != new.owner);
    if let Some(owner) = new.owner.as_ref().filter(|_| is_new_owner) {
        if after.has_owner_of_its_own() {
            let sql = format!("ALTER {kind} {target} OWNER TO {owner}");
            script.push_with_roles("owner", sql, &[owner]);
        }
    }
    let on = format!("{} {}", after.grant_kind(), after.grant_target());
    let by = new.owner.as_deref();
    let privileged = before.filter(|before| before.can_have_privileges());
    match privileged.map(Object::common) {
        _ if !after.can_have_privileges() => {}
        None if after.gets_default_privileges() && !others.is_empty() => {
            new.acl().give_instead(by, &on, others, script);
        }
        None => {
            let default = Acl(new.default_acl.as_deref().unwrap_or_default());
            default.become_(new.acl(), by, &on, script);
        }
        // A new owner has the privileges of the old one, in every entry (aclnewowner).
        Some(old) if is_new_owner => {
            let (from, to) = (old.owner.as_deref(), new.owner.as_deref());
            let moved = old
                .acl()
                .with_owner(from.unwrap_or_default(), to.unwrap_or_default());
            Acl(&moved).become_(new.acl(), by, &on, script);
        }
        Some(old) => old.acl().become_(new.acl(), by, &on, script),
    }
    after.finish_parts(before, script);
    if old.map(|old| &old.comment) != Some(&new.comment) && (old.is_some() || new.comment.is_some())
    {
        script.push(
            "comment",
            comment_on(&format!("{kind} {target}"), new.comment.as_deref()),
        );
    }
    labels(
        old.and_then(|old| old.labels.as_deref()),
        new.labels.as_deref(),
        &format!("{kind} {target}"),
        script,
    );
    let none = Vec::new();
    let was = old.and_then(|old| old.goes_with.as_ref()).unwrap_or(&none);
    let is = new.goes_with.as_ref().unwrap_or(&none);
    for extension in is.iter().filter(|name| !was.contains(name)) {
        script.push(
            "depend",
            format!("ALTER {kind} {target} DEPENDS ON EXTENSION {extension}"),
        );
    }
    for extension in was.iter().filter(|name| !is.contains(name)) {
        script.push(
            "depend",
            format!("ALTER {kind} {target} NO DEPENDS ON EXTENSION {extension}"),
        );
    }
}

/// `COMMENT ON …`; NULL removes it.
pub fn comment_on(what: &str, comment: Option<&str>) -> String {
    let text = comment.map_or_else(|| "NULL".to_owned(), literal);
    format!("COMMENT ON {what} IS {text}")
}

/// Security labels; NULL removes one.
pub fn labels(
    before: Option<&[(String, String)]>,
    after: Option<&[(String, String)]>,
    what: &str,
    script: &mut Script,
) {
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    for (provider, label) in after.iter().filter(|label| !before.contains(label)) {
        let (provider, label) = (crate::text::quoted(provider), literal(label));
        script.push(
            "label",
            format!("SECURITY LABEL FOR {provider} ON {what} IS {label}"),
        );
    }
    for (provider, _) in before
        .iter()
        .filter(|(name, _)| !after.iter().any(|(other, _)| other == name))
    {
        let provider = crate::text::quoted(provider);
        script.push(
            "label",
            format!("SECURITY LABEL FOR {provider} ON {what} IS NULL"),
        );
    }
}

/// The qualified name of the collation with an OID, or NULL.
#[macro_export]
macro_rules! collation_name {
    ($oid:literal) => {
        concat!(
            "(SELECT pg_catalog.concat(pg_catalog.quote_ident(xn.nspname), '.', pg_catalog.quote_ident(x.collname)) \
             FROM pg_catalog.pg_collation x JOIN pg_catalog.pg_namespace xn ON xn.oid = x.collnamespace WHERE x.oid = ",
            $oid,
            ")"
        )
    };
}
