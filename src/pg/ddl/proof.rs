//! Verifies that a text parses to the statement that is about to run: the parser is called under exactly the
//! settings of a replay, and its tree is compared with that of the statement.

use std::panic::AssertUnwindSafe;

use pgrx::prelude::*;

use super::node::{c_string, items};
use super::statement::Statement;

/// Runs `work`, which only scans and parses, under the settings of a replay as far as they affect the parser.
/// `None` if it raises an error: an error in the scanner or parser leaves nothing behind, so no
/// subtransaction is needed. The user has seen its warnings already.
pub fn as_at_replay<R>(work: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: variables of this process, given back below whether `work` raises or not.
    let kept = unsafe {
        let kept = (
            pg_sys::standard_conforming_strings,
            pg_sys::backslash_quote,
            pg_sys::client_min_messages,
            pg_sys::log_min_messages,
        );
        pg_sys::standard_conforming_strings = true;
        pg_sys::backslash_quote = pg_sys::BackslashQuoteType::BACKSLASH_QUOTE_SAFE_ENCODING as i32;
        pg_sys::client_min_messages = PgLogLevel::ERROR as i32;
        pg_sys::log_min_messages = PgLogLevel::ERROR as i32;
        kept
    };
    let done = PgTryBuilder::new(AssertUnwindSafe(|| Some(work())))
        .catch_others(|_| None)
        .catch_rust_panic(|_| None)
        .execute();
    // SAFETY: as above.
    unsafe {
        pg_sys::standard_conforming_strings = kept.0;
        pg_sys::backslash_quote = kept.1;
        pg_sys::client_min_messages = kept.2;
        pg_sys::log_min_messages = kept.3;
    }
    done
}

/// The raw parse tree of `text`; `None` unless it is exactly one statement.
fn one_statement(text: &[u8]) -> Option<*mut pg_sys::Node> {
    let text = c_string(text);
    // SAFETY: the parser copies what it keeps; its list holds RawStmts.
    unsafe {
        let list = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        match items::<pg_sys::RawStmt>(list).as_slice() {
            [only] => Some((**only).stmt),
            _ => None,
        }
    }
}

fn are_equal(one: *mut pg_sys::Node, other: *mut pg_sys::Node) -> bool {
    // SAFETY: raw parse trees; equal() ignores where a token stood.
    unsafe { pg_sys::equal(one.cast(), other.cast()) }
}

/// True if a replay of `text` executes `statement`, and nothing else.
pub fn says_the_same(statement: &Statement, text: &[u8]) -> bool {
    let compare = || one_statement(text).is_some_and(|parsed| are_equal(parsed, statement.node));
    as_at_replay(compare).unwrap_or(false)
}

/// How a text derived from a statement's own differs from it.
pub enum Derived<'a> {
    /// CONCURRENTLY or FINALIZE.
    Plain,
    /// It concerns this database only.
    Database(&'a [u8]),
}

/// True if `text` is the statement with this difference, and nothing else.
pub fn says_derived(statement: &Statement, text: &[u8], derived: &Derived<'_>) -> bool {
    let compare = || {
        let Some(parsed) = one_statement(text) else {
            return false;
        };
        // SAFETY: the copy is ours to change, and so is what was parsed.
        unsafe {
            let expected = pg_sys::copyObjectImpl(statement.node.cast()).cast::<pg_sys::Node>();
            (*expected).type_ == (*parsed).type_
                && change(expected, derived)
                && are_equal(expected, parsed)
        }
    };
    as_at_replay(compare).unwrap_or(false)
}

/// Changes the statement's tree to that expected from the derived text; false if it cannot.
///
/// # Safety
/// A valid tree that may be changed.
unsafe fn change(expected: *mut pg_sys::Node, derived: &Derived<'_>) -> bool {
    // SAFETY: by the caller's promise; casts follow the node's tag.
    unsafe {
        match derived {
            Derived::Plain => make_plain(expected),
            Derived::Database(name) => match database_list(expected) {
                // Others name one database, which is correct already.
                None => true,
                Some(objects) => {
                    let name = pg_sys::pstrdup(c_string(name).as_ptr());
                    let name = pg_sys::makeString(name);
                    *objects = pg_sys::lappend(std::ptr::null_mut(), name.cast());
                    true
                }
            },
        }
    }
}

/// # Safety
/// A valid tree.
unsafe fn database_list(node: *mut pg_sys::Node) -> Option<*mut *mut pg_sys::List> {
    // SAFETY: by the caller's promise; the cast follows the node's tag.
    unsafe {
        ((*node).type_ == pg_sys::NodeTag::T_GrantStmt)
            .then(|| &raw mut (*node.cast::<pg_sys::GrantStmt>()).objects)
    }
}

/// # Safety
/// A valid tree.
unsafe fn make_plain(node: *mut pg_sys::Node) -> bool {
    use pg_sys::AlterTableType::{AT_DetachPartition, AT_DetachPartitionFinalize};
    use pg_sys::NodeTag::{T_AlterTableStmt, T_DropStmt, T_IndexStmt};
    // SAFETY: by the caller's promise; casts follow the node's tag, DETACH's definition is a
    // PartitionCmd.
    unsafe {
        match (*node).type_ {
            T_IndexStmt => (*node.cast::<pg_sys::IndexStmt>()).concurrent = false,
            T_DropStmt => (*node.cast::<pg_sys::DropStmt>()).concurrent = false,
            T_AlterTableStmt => {
                let alter = &*node.cast::<pg_sys::AlterTableStmt>();
                for command in items::<pg_sys::AlterTableCmd>(alter.cmds) {
                    if (*command).subtype == AT_DetachPartitionFinalize {
                        (*command).subtype = AT_DetachPartition;
                    }
                    if (*command).subtype == AT_DetachPartition {
                        (*(*command).def.cast::<pg_sys::PartitionCmd>()).concurrent = false;
                    }
                }
            }
            _ => return false,
        }
    }
    true
}
