//! The output plugin's C side: `_PG_output_plugin_init` and the callbacks of output_plugin.h.
//!
//! Each callback turns PostgreSQL's pointers into safe values, calls the [`OutputPlugin`] that was handed in,
//! and carries the rows away: to the decoding context's writer, or straight to a capture worker in this
//! process.

use std::ffi::{c_int, CStr};

use chrono::{DateTime, Utc};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;

use super::callbacks::{plugin, Change, OutputPlugin, RowTarget, Start, Transaction, Truncate};
use super::commit_view::{Before, CommitView};
use super::direct::send_direct;
use super::relation::OpenRelation;
use super::value::{in_context, MemoryContextOwner, Row};
use super::{invalidation, row_guard, who};
use crate::pg::compat;
use crate::pg::ddl::lost;
use crate::pg::effects::events::events_of;
use crate::pg::effects::tuple_cids;
use crate::pg::effects::view;
use crate::pg::server::{session, title};
use crate::pg::types::{timestamp, xid};

/// A session's state, kept in the decoding context's memory.
struct Session {
    plugin: Box<dyn OutputPlugin>,
    /// Set by `begin`; every other callback belongs to it.
    transaction: Option<Transaction>,
    /// Through which the transaction's callbacks look at the catalogs.
    view: Option<Box<CommitView>>,
    settings: session::OutputSettings,
    /// It does something to the schema.
    changes_schema: bool,
    /// Who made it is known.
    has_who: bool,
    old: Row,
    new: Row,
    /// Emptied after each row.
    row_memory: MemoryContextOwner,
}

/// Tells PostgreSQL the callbacks.
///
/// # Safety
/// Called by PostgreSQL with a zeroed struct to fill.
#[no_mangle]
#[pg_guard]
pub unsafe extern "C-unwind" fn _PG_output_plugin_init(
    callbacks: *mut pg_sys::OutputPluginCallbacks,
) {
    // SAFETY: promised by the caller.
    let callbacks = unsafe { &mut *callbacks };
    callbacks.startup_cb = Some(startup);
    callbacks.begin_cb = Some(begin);
    callbacks.change_cb = Some(change);
    callbacks.truncate_cb = Some(truncate);
    callbacks.commit_cb = Some(commit);
    callbacks.message_cb = Some(message);
    callbacks.stream_abort_cb = Some(stream_abort);
}

/// Does nothing. PostgreSQL 18 calls it also for a plugin that never streams: it marks
/// subtransactions as streamed when it throws an aborted transaction's changes away
/// (ReorderBufferTruncateTXN), and ends the decoding where there is no such callback.
#[pg_guard]
unsafe extern "C-unwind" fn stream_abort(
    _ctx: *mut pg_sys::LogicalDecodingContext,
    _txn: *mut pg_sys::ReorderBufferTXN,
    _abort_lsn: pg_sys::XLogRecPtr,
) {
}

#[pg_guard]
unsafe extern "C-unwind" fn startup(
    ctx: *mut pg_sys::LogicalDecodingContext,
    plugin_options: *mut pg_sys::OutputPluginOptions,
    _is_init: bool,
) {
    // SAFETY: PostgreSQL passes a context under construction and the options to fill.
    let (context, plugin_options) = unsafe { (&mut *ctx, &mut *plugin_options) };
    // SAFETY: the list holds DefElems, as output_plugin.h says.
    let pairs = unsafe { option_pairs(context.output_plugin_options) };
    // SAFETY: reads a variable of this process.
    let encoding = unsafe { pg_sys::GetDatabaseEncoding() };
    let start = Start {
        options: &pairs,
        is_utf8: encoding == pg_sys::pg_enc::PG_UTF8 as i32,
        memory: context.context,
    };
    let plugin = plugin(&start).unwrap_or_else(|failure| failure.raise());
    plugin_options.output_type = if plugin.is_binary() {
        pg_sys::OutputPluginOutputType::OUTPUT_PLUGIN_BINARY_OUTPUT
    } else {
        pg_sys::OutputPluginOutputType::OUTPUT_PLUGIN_TEXTUAL_OUTPUT
    };
    plugin_options.receive_rewrites = true;
    // PostgreSQL sets it for every plugin that has a stream callback; see `stream_abort`.
    context.streaming = false;
    invalidation::watch();
    let session = Session {
        plugin,
        transaction: None,
        view: None,
        settings: session::OutputSettings::default(),
        changes_schema: false,
        has_who: false,
        old: Row::default(),
        new: Row::default(),
        row_memory: MemoryContextOwner::new(context.context, c"pg_incrbackup row"),
    };
    let session = PgMemoryContexts::For(context.context).leak_and_drop_on_delete(session);
    context.output_plugin_private = session.cast();
}

/// # Safety
/// `list` must be null or a list of DefElems whose arguments are strings or null.
unsafe fn option_pairs(list: *mut pg_sys::List) -> Vec<(String, Option<String>)> {
    let text = |pointer: *const std::ffi::c_char| {
        // SAFETY: a NUL-terminated string of the parser's or the caller's making.
        unsafe { CStr::from_ptr(pointer) }
            .to_string_lossy()
            .into_owned()
    };
    // SAFETY: promised by the caller.
    unsafe {
        let list = pgrx::PgList::<pg_sys::DefElem>::from_pg(list);
        list.iter_ptr()
            .map(|element| {
                let value =
                    (!(*element).arg.is_null()).then(|| text(pg_sys::defGetString(element)));
                (text((*element).defname), value)
            })
            .collect()
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn begin(
    ctx: *mut pg_sys::LogicalDecodingContext,
    txn: *mut pg_sys::ReorderBufferTXN,
) {
    // SAFETY: the transaction handed to this callback.
    unsafe { tuple_cids::correct(txn) };
    // SAFETY: `startup` has set the session.
    let session = unsafe { session(ctx) };
    row_guard::begin_transaction();
    session.settings.enter();
    // SAFETY: the transaction handed to this callback.
    let transaction = unsafe { transaction(txn) };
    session.transaction = Some(transaction);
    // SAFETY: as above; no change has been handed out yet.
    let who = unsafe { who::of_transaction(txn, transaction.xid) };
    session.has_who = who.is_some();
    // SAFETY: as above.
    session.view = unsafe { CommitView::of(ctx, txn) };
    session.plugin.begin(who);
    // SAFETY: as above; no change has been handed out yet.
    let touched = unsafe { events_of(txn) };
    session.changes_schema = touched.is_some();
    if let Some(touched) = touched {
        let view = session.view.as_deref_mut();
        view::before_transaction(view, || session.plugin.read_schema_before(touched));
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn change(
    ctx: *mut pg_sys::LogicalDecodingContext,
    _txn: *mut pg_sys::ReorderBufferTXN,
    relation: pg_sys::Relation,
    change: *mut pg_sys::ReorderBufferChange,
) {
    // SAFETY: `startup` has set the session; PostgreSQL keeps the rest alive during the callback.
    unsafe {
        follow_catalogs(ctx, Some(OpenRelation::new(relation)));
        let Session {
            plugin,
            transaction,
            old,
            new,
            row_memory,
            view,
            ..
        } = session(ctx);
        let before = view.as_mut().map(|view| view.enter());
        let relation_open = OpenRelation::new(relation);
        let (old_tuple, new_tuple) = compat::change_tuples(change);
        let mut target = Target(ctx);
        in_context(row_memory.context(), || {
            let descriptor = relation_open.tuple_descriptor();
            let unpack = |row: &mut Row, tuple: pg_sys::HeapTuple| {
                (!tuple.is_null())
                    .then(|| row.deform(tuple, descriptor))
                    .is_some()
            };
            let (has_old, has_new) = (unpack(old, old_tuple), unpack(new, new_tuple));
            let old = has_old.then_some(&*old);
            let decoded = match (*change).action {
                pg_sys::ReorderBufferChangeType::REORDER_BUFFER_CHANGE_INSERT if has_new => {
                    Change::Insert { new }
                }
                pg_sys::ReorderBufferChangeType::REORDER_BUFFER_CHANGE_UPDATE if has_new => {
                    Change::Update { old, new }
                }
                pg_sys::ReorderBufferChangeType::REORDER_BUFFER_CHANGE_DELETE => {
                    Change::Delete { old }
                }
                other => error!("change of kind {other} has no row"),
            };
            let transaction = begun(*transaction);
            let written = row_guard::guarded(|| {
                plugin.change(transaction, relation_open, &decoded, &mut target);
            });
            if let Err(failure) = written {
                plugin.change_failed(transaction, relation_open, &decoded, &failure, &mut target);
            }
        });
        row_memory.reset();
        leave(before);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn truncate(
    ctx: *mut pg_sys::LogicalDecodingContext,
    _txn: *mut pg_sys::ReorderBufferTXN,
    count: c_int,
    relations: *mut pg_sys::Relation,
    change: *mut pg_sys::ReorderBufferChange,
) {
    // SAFETY: PostgreSQL passes `count` open relations and a TRUNCATE change.
    unsafe {
        follow_catalogs(ctx, None);
        let before = session(ctx).view.as_mut().map(|view| view.enter());
        let relations = std::slice::from_raw_parts(relations, count as usize);
        let tables: Vec<_> = relations.iter().map(|r| OpenRelation::new(*r)).collect();
        let truncate = Truncate {
            cascade: (*change).data.truncate.cascade,
        };
        let Session {
            plugin,
            transaction,
            row_memory,
            ..
        } = session(ctx);
        let transaction = begun(*transaction);
        in_context(row_memory.context(), || {
            let written = row_guard::guarded(|| {
                plugin.truncate(transaction, &tables, &truncate, &mut Target(ctx));
            });
            if let Err(failure) = written {
                plugin.failed(transaction, "TRUNCATE", &failure, &mut Target(ctx));
            }
        });
        row_memory.reset();
        leave(before);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn commit(
    ctx: *mut pg_sys::LogicalDecodingContext,
    _txn: *mut pg_sys::ReorderBufferTXN,
    _commit_lsn: pg_sys::XLogRecPtr,
) {
    // SAFETY: a commit callback.
    unsafe { follow_catalogs(ctx, None) };
    // SAFETY: as for `begin`.
    let session = unsafe { session(ctx) };
    let before = session.view.as_mut().map(|view| view.enter());
    let transaction = begun(session.transaction.take());
    in_context(session.row_memory.context(), || {
        let plugin = &mut session.plugin;
        let written = row_guard::guarded(|| {
            plugin.large_objects(transaction, &mut Target(ctx));
        });
        if let Err(failure) = written {
            plugin.failed(transaction, "large objects", &failure, &mut Target(ctx));
        }
        plugin.commit(transaction, &mut Target(ctx));
    });
    session.row_memory.reset();
    leave(before);
    session.view = None;
    session.settings.leave();
}

fn begun(transaction: Option<Transaction>) -> Transaction {
    transaction.unwrap_or_else(|| error!("a change came outside a transaction"))
}

/// A logical message: one that `lost_ddl` wrote into its transaction leaves a flag; all others, those of our
/// prefix that somebody else wrote too, are not ours to carry.
#[pg_guard]
unsafe extern "C-unwind" fn message(
    ctx: *mut pg_sys::LogicalDecodingContext,
    _txn: *mut pg_sys::ReorderBufferTXN,
    _lsn: pg_sys::XLogRecPtr,
    is_transactional: bool,
    prefix: *const std::ffi::c_char,
    size: pg_sys::Size,
    message: *const std::ffi::c_char,
) {
    // SAFETY: PostgreSQL passes a NUL-terminated prefix and `size` bytes of message; `startup` has
    // set the session.
    unsafe {
        if !is_transactional {
            return;
        }
        follow_catalogs(ctx, None);
        let Session {
            plugin,
            transaction,
            has_who,
            ..
        } = session(ctx);
        let transaction = begun(*transaction);
        let message = std::slice::from_raw_parts(message.cast::<u8>(), size);
        let target = &mut Target(ctx);
        let prefix = CStr::from_ptr(prefix);
        let late = (!*has_who).then(|| who::read(prefix, message, transaction.xid));
        if let Some(late) = late.flatten() {
            title::log(&format!(
                "who made transaction {} ({}) is not in the files: others have written behind it",
                transaction.xid,
                who::shown(&late)
            ));
        }
        if let Some(said) = lost::said(prefix, message, transaction.xid) {
            plugin.lost_ddl(transaction, said.reason, said.is_told, target);
        }
    }
}

fn leave(before: Option<Before>) {
    if let Some(before) = before {
        before.leave();
    }
}

/// What the commands before this callback's change did to the schema goes before it. `relation` is that of a
/// row, which may be the copy that a rewrite fills.
///
/// # Safety
/// `ctx` is that of a change, truncate, message or commit callback.
unsafe fn follow_catalogs(
    ctx: *mut pg_sys::LogicalDecodingContext,
    relation: Option<OpenRelation>,
) {
    // SAFETY: `startup` has set the session.
    let session = unsafe { session(ctx) };
    if !session.changes_schema {
        return;
    }
    let command = view::current_command();
    let is_rewriting = relation.is_some_and(|relation| relation.rewrites().is_some());
    let plugin = &mut session.plugin;
    if !plugin.has_schema_changed(command, is_rewriting) {
        return;
    }
    view::at_this_command(session.view.as_deref_mut(), || {
        plugin.read_schema(command, is_rewriting);
    });
    let transaction = begun(session.transaction);
    plugin.schema_changed(transaction, &mut Target(ctx));
}

/// # Safety
/// `ctx` must be a context for which `startup` has run.
unsafe fn session<'a>(ctx: *mut pg_sys::LogicalDecodingContext) -> &'a mut Session {
    // SAFETY: promised by the caller; callbacks of one context never nest.
    unsafe { &mut *(*ctx).output_plugin_private.cast() }
}

/// # Safety
/// `txn` must be the transaction handed to a callback.
unsafe fn transaction(txn: *mut pg_sys::ReorderBufferTXN) -> Transaction {
    // SAFETY: promised by the caller. ReorderBufferReplay sets end_lsn and commit_time before the
    // first callback.
    let (xid, end_lsn, time) =
        unsafe { ((*txn).xid, (*txn).end_lsn, (*txn).xact_time.commit_time) };
    Transaction {
        xid: xid::full(xid),
        commit_lsn: end_lsn,
        commit_time: utc(time),
    }
}

/// A TimestampTz as a UTC time.
pub fn utc(at: pg_sys::TimestampTz) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(timestamp::to_unix_micros(at)).unwrap_or_default()
}

struct Target(*mut pg_sys::LogicalDecodingContext);

impl RowTarget for Target {
    fn row(&mut self, row: &[u8]) {
        row_guard::sending(|| self.send(row));
    }
}

impl Target {
    fn send(&self, row: &[u8]) {
        if send_direct(row) {
            return;
        }
        // SAFETY: called within a callback, where the context accepts writes; `out` is a StringInfo.
        unsafe {
            pg_sys::OutputPluginPrepareWrite(self.0, true);
            let length = c_int::try_from(row.len())
                .unwrap_or_else(|_| error!("a row's SQL exceeds 2 GB; use reader = stream"));
            pg_sys::appendBinaryStringInfo((*self.0).out, row.as_ptr().cast(), length);
            pg_sys::OutputPluginWrite(self.0, true);
        }
    }
}
