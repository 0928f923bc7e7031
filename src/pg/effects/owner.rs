//! The object that a catalog row belongs to.
//!
//! Rows that describe another object (a column, a default, a comment, a member of an operator family) count
//! as that object's. Rows that are not the subject of DDL (statistics, array types, internal triggers, most
//! dependencies) are ignored. The columns are read from the row itself, so this also works for rows that no
//! longer exist.

use effects::key::catalog::{
    CLASS, CONSTRAINT, DATABASE, NAMESPACE, OPFAMILY, POLICY, PROC, PUBLICATION, REWRITE,
    STATISTIC_EXT, TRIGGER, TS_CONFIG, TYPE,
};
use effects::Key;
use pgrx::prelude::*;

use super::catalog::Fields;
use super::events::REWRITE as REWRITTEN;
use super::relations::Relations;

/// Most rows belong to one object; that of a composite type to its relation and its type.
pub type Owners = [Option<Key>; 2];

/// How the rows of one catalog are interpreted.
pub struct Rule {
    /// The columns for [`Rule::owners`], by name: positions differ between releases.
    pub columns: &'static [&'static str],
    owners: How,
}

#[derive(Clone, Copy)]
enum How {
    Noise,
    Unknown,
    /// The first column is the OID of the object, whose class is this catalog.
    Object,
    /// The same; the second column is its table, 0 without one.
    ObjectOfTable,
    /// The first column is the OID of an object of this class.
    PartOf(u32),
    /// The first column is the class, the second the OID.
    About,
    By(fn(&Fields<'_>, &mut Relations) -> Owners),
}

impl Rule {
    pub fn is_noise(&self) -> bool {
        matches!(self.owners, How::Noise)
    }

    /// True for the object's own row, not one that describes it.
    pub fn is_row_of(&self, class: u32, row: &Fields<'_>, key: Key) -> bool {
        self.columns.first() == Some(&"oid") && key.class == class && key.oid == row.oid(0)
    }

    /// The letter that distinguishes kinds of objects in a catalog, if there is one.
    pub fn kind(&self, class: u32, row: &Fields<'_>) -> Option<char> {
        matches!(class, CLASS | PROC).then(|| char::from(row.char(1)))
    }

    /// The objects that a row of the catalog `class` belongs to.
    pub fn owners(&self, class: u32, row: &Fields<'_>, relations: &mut Relations) -> Owners {
        let owners = match self.owners {
            How::Noise => NONE,
            How::Unknown => one(class, 0),
            How::Object => one(class, row.oid(0)),
            How::ObjectOfTable if relations.is_noise(row.oid(1)) => NONE,
            How::ObjectOfTable => one(class, row.oid(0)),
            How::PartOf(owner) => one(owner, row.oid(0)),
            // Large objects are written completely at the transaction's end.
            How::About if row.oid(0) == LARGE_OBJECT => NONE,
            How::About if row.oid(0) == CONSTRAINT => {
                [relations.owner_of_constraint(row.oid(1)), None]
            }
            How::About => one(row.oid(0), row.oid(1)),
            How::By(owners) => owners(row, relations),
        };
        owners.map(|key| key.filter(|key| key.class != CLASS || !relations.is_noise(key.oid)))
    }
}

const NONE: Owners = [None, None];

fn one(class: u32, oid: u32) -> Owners {
    [Some(Key::new(class, oid)), None]
}

/// The class of large objects in pg_description and similar catalogs; they are not objects here.
const LARGE_OBJECT: u32 = 2613;

/// An unknown catalog, or one without OIDs: something was changed in it.
pub static UNKNOWN: Rule = Rule {
    columns: &[],
    owners: How::Unknown,
};

static NOISE: Rule = Rule {
    columns: &[],
    owners: How::Noise,
};

/// The name of the OID column in every catalog whose rows are objects.
static OBJECT: Rule = Rule {
    columns: &["oid"],
    owners: How::Object,
};

/// The rule of a catalog by its OID, which is the same in all releases (catalog/pg_*.h).
pub fn rule(catalog: u32) -> &'static Rule {
    macro_rules! rule {
        ($owners:expr, $($column:literal),+) => {{
            static RULE: Rule = Rule { columns: &[$($column),+], owners: $owners };
            &RULE
        }};
    }
    match catalog {
        CLASS => rule!(
            How::By(of_class),
            "oid",
            "relkind",
            "relnamespace",
            "relpersistence",
            "relrewrite"
        ),
        TYPE => rule!(How::By(of_type), "oid", "typrelid", "typelem", "typinput"),
        PROC => rule!(How::Object, "oid", "prokind"),
        // pg_attribute, pg_attrdef, pg_index, pg_inherits
        1249 => rule!(How::PartOf(CLASS), "attrelid"),
        2604 => rule!(How::PartOf(CLASS), "adrelid"),
        2610 => rule!(
            How::By(of_index),
            "indexrelid",
            "indrelid",
            "indisclustered",
            "indisreplident"
        ),
        2611 => rule!(How::PartOf(CLASS), "inhrelid"),
        // pg_partitioned_table, pg_sequence, pg_foreign_table
        3350 => rule!(How::PartOf(CLASS), "partrelid"),
        2224 => rule!(How::PartOf(CLASS), "seqrelid"),
        3118 => rule!(How::PartOf(CLASS), "ftrelid"),
        // pg_enum, pg_range
        3501 => rule!(How::PartOf(TYPE), "enumtypid"),
        3541 => rule!(How::PartOf(TYPE), "rngtypid"),
        // pg_aggregate, pg_amop, pg_amproc, pg_ts_config_map
        2600 => rule!(How::PartOf(PROC), "aggfnoid"),
        2602 => rule!(How::PartOf(OPFAMILY), "amopfamily"),
        2603 => rule!(How::PartOf(OPFAMILY), "amprocfamily"),
        3603 => rule!(How::PartOf(TS_CONFIG), "mapcfg"),
        // pg_publication_rel, pg_publication_namespace
        6106 => rule!(How::PartOf(PUBLICATION), "prpubid"),
        6237 => rule!(How::PartOf(PUBLICATION), "pnpubid"),
        // pg_db_role_setting; that of no database is a role's
        2964 => rule!(How::PartOf(DATABASE), "setdatabase"),
        // pg_description, pg_shdescription, pg_seclabel, pg_shseclabel, pg_init_privs
        2609 | 2396 | 3596 | 3592 | 3394 => rule!(How::About, "classoid", "objoid"),
        2608 => rule!(
            How::By(of_dependency),
            "classid",
            "objid",
            "refclassid",
            "deptype"
        ),
        REWRITE => rule!(How::By(of_rewrite), "oid", "ev_class", "rulename"),
        TRIGGER => rule!(How::By(of_trigger), "oid", "tgrelid"),
        NAMESPACE => rule!(How::By(of_namespace), "oid", "nspname"),
        CONSTRAINT => rule!(
            How::By(of_constraint),
            "oid",
            "conrelid",
            "contypid",
            "contype"
        ),
        POLICY => rule!(How::ObjectOfTable, "oid", "polrelid"),
        STATISTIC_EXT => rule!(How::ObjectOfTable, "oid", "stxrelid"),
        // pg_statistic, pg_statistic_ext_data, pg_shdepend, pg_largeobject, pg_largeobject_metadata,
        // pg_subscription_rel, pg_replication_origin: a subscription's comes and goes with it
        2619 | 3429 | 1214 | 2613 | 2995 | 6102 | 6000 => &NOISE,
        _ => &OBJECT,
    }
}

fn of_class(row: &Fields<'_>, relations: &mut Relations) -> Owners {
    let (oid, kind) = (row.oid(0), row.char(1));
    let is_noise = kind == pg_sys::RELKIND_TOASTVALUE
        || row.oid(2) == pg_sys::PG_TOAST_NAMESPACE
        || row.char(3) == pg_sys::RELPERSISTENCE_TEMP
        || row.oid(4) != 0;
    relations.note(oid, kind, is_noise);
    match row.oid(4) {
        0 => one(CLASS, oid),
        rewritten => one(REWRITTEN, rewritten),
    }
}

fn of_type(row: &Fields<'_>, relations: &mut Relations) -> Owners {
    let (oid, relation) = (row.oid(0), row.oid(1));
    if relation != 0 {
        if relations.is_noise(relation) {
            return NONE;
        }
        let itself = Key::new(TYPE, oid);
        let composite = relations.is_composite(relation).then_some(itself);
        return [Some(Key::new(CLASS, relation)), composite];
    }
    // Only arrays that PostgreSQL creates with their element type have array_in as input function: CREATE
    // TYPE requires a function that returns the type itself (typecmds.c, findTypeInputFunction). A multirange
    // is created with its range, and renamed, moved and dropped as a separate type.
    if row.oid(2) != 0 && row.oid(3) == pg_sys::F_ARRAY_IN {
        NONE
    } else {
        one(TYPE, oid)
    }
}

fn of_constraint(row: &Fields<'_>, relations: &mut Relations) -> Owners {
    let (table, domain, kind) = (row.oid(1), row.oid(2), row.char(3));
    [
        relations.note_constraint(row.oid(0), table, domain, kind),
        None,
    ]
}

/// Temporary schemas are created with the first temporary table of a session, and remain
/// (catalog/namespace.c). Other schemas cannot have such names.
fn of_namespace(row: &Fields<'_>, _relations: &mut Relations) -> Owners {
    if row.name(1).starts_with(b"pg_temp_") || row.name(1).starts_with(b"pg_toast_temp_") {
        NONE
    } else {
        one(NAMESPACE, row.oid(0))
    }
}

fn of_dependency(row: &Fields<'_>, _relations: &mut Relations) -> Owners {
    let (class, kind) = (row.oid(0), row.char(3));
    let is_relation_of_another = class == CLASS && row.oid(2) == CLASS;
    match kind {
        // Members of extensions, and objects marked as dependent on one.
        b'e' | b'x' => one(class, row.oid(1)),
        // Owned sequences and identities, partitions, partitions of indexes.
        b'a' | b'i' if is_relation_of_another => one(class, row.oid(1)),
        _ => NONE,
    }
}

fn of_rewrite(row: &Fields<'_>, relations: &mut Relations) -> Owners {
    let relation = row.oid(1);
    if row.name(2) == b"_RETURN" {
        return one(CLASS, relation);
    }
    if relations.is_noise(relation) {
        NONE
    } else {
        one(REWRITE, row.oid(0))
    }
}

/// An index, and its table if it has a mark: CLUSTER ON and REPLICA IDENTITY USING INDEX are written with the
/// table.
fn of_index(row: &Fields<'_>, _relations: &mut Relations) -> Owners {
    let key = |oid| Some(Key::new(CLASS, oid));
    let is_marked = row.flag(2) || row.flag(3);
    [key(row.oid(0)), key(row.oid(1)).filter(|_| is_marked)]
}

/// Internal ones, too: they can be disabled.
fn of_trigger(row: &Fields<'_>, relations: &mut Relations) -> Owners {
    if relations.is_noise(row.oid(1)) {
        NONE
    } else {
        one(TRIGGER, row.oid(0))
    }
}
