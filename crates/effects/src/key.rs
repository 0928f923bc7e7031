//! How the catalogs identify an object.

use serde::{Deserialize, Serialize};

/// A catalog's OID and the object's OID in it, as in pg_depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub struct Key {
    pub class: u32,
    pub oid: u32,
}

impl Key {
    pub const fn new(class: u32, oid: u32) -> Key {
        Key { class, oid }
    }
}

impl From<(u32, u32)> for Key {
    fn from((class, oid): (u32, u32)) -> Key {
        Key { class, oid }
    }
}

impl From<Key> for (u32, u32) {
    fn from(key: Key) -> (u32, u32) {
        (key.class, key.oid)
    }
}

/// Smaller OIDs are assigned by initdb (FirstNormalObjectId of access/transam.h).
pub const FIRST_NORMAL_OID: u32 = 16384;

/// OIDs of catalogs (catalog/pg_*.h, CATALOG macros); the same in all versions.
pub mod catalog {
    pub const CLASS: u32 = 1259;
    /// Shared: only the decoded database is an object.
    pub const DATABASE: u32 = 1262;
    pub const TYPE: u32 = 1247;
    pub const PROC: u32 = 1255;
    pub const NAMESPACE: u32 = 2615;
    pub const CONSTRAINT: u32 = 2606;
    pub const ATTRDEF: u32 = 2604;
    pub const REWRITE: u32 = 2618;
    pub const TRIGGER: u32 = 2620;
    pub const POLICY: u32 = 3256;
    pub const STATISTIC_EXT: u32 = 3381;
    pub const COLLATION: u32 = 3456;
    pub const CONVERSION: u32 = 2607;
    pub const OPERATOR: u32 = 2617;
    pub const OPFAMILY: u32 = 2753;
    pub const OPCLASS: u32 = 2616;
    pub const AM: u32 = 2601;
    pub const CAST: u32 = 2605;
    pub const TRANSFORM: u32 = 3576;
    pub const LANGUAGE: u32 = 2612;
    pub const TS_CONFIG: u32 = 3602;
    pub const TS_DICT: u32 = 3600;
    pub const TS_PARSER: u32 = 3601;
    pub const TS_TEMPLATE: u32 = 3764;
    pub const FOREIGN_DATA_WRAPPER: u32 = 2328;
    pub const FOREIGN_SERVER: u32 = 1417;
    pub const USER_MAPPING: u32 = 1418;
    pub const DEFAULT_ACL: u32 = 826;
    pub const EVENT_TRIGGER: u32 = 3466;
    pub const PUBLICATION: u32 = 6104;
    pub const SUBSCRIPTION: u32 = 6100;
    pub const EXTENSION: u32 = 3079;
}
