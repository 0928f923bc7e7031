//! Converts a transaction's changes of large objects to SQL, just before its COMMIT.
//!
//! Each object is changed from its state before the transaction to that at its end; intermediate states are
//! not written. This includes owner, privileges, comment and labels, so the texts of statements about large
//! objects are not replayed. Holes and short pages inside an object are read as zeros, and a base backup
//! fills them: only bytes and size are the same on both sides, not pages.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::large_object_acl;
use super::writer::Writer;
use crate::pg::decoding::large_object_changes::{changes, ChangedPage, Changes};
use crate::pg::decoding::large_object_state::{self as state, offset, Metadata, PAGE_SIZE};
use crate::pg::text::quote;

/// Maximum number of bytes in one line. As hexadecimal digits they need twice the space.
const MOST_BYTES_PER_LINE: usize = 32 * 1024;

/// INV_WRITE of libpq/libpq-fs.h.
const OPEN_TO_WRITE: u32 = 0x20000;

/// The roles that the lines of large objects name.
#[derive(Default)]
pub struct Roles {
    default_grantees: Option<Vec<u32>>,
}

impl Roles {
    /// The name of a role as SQL, listed for the restore. `None` if it no longer exists.
    pub fn name(&mut self, writer: &mut Writer<'_>, role: u32) -> Option<Vec<u8>> {
        let name = state::role_name(role)?;
        writer.needed_role(&name);
        Some(quote::identifier(&name))
    }

    /// Roles that may have privileges on a new object.
    pub fn default_grantees(&mut self) -> &[u32] {
        self.default_grantees
            .get_or_insert_with(state::default_grantees)
    }
}

/// Writes the large objects of a transaction at its end.
pub fn write(writer: &mut Writer<'_>) {
    let mut roles = Roles::default();
    let objects: Vec<Object> = changes().into_iter().map(Object::read).collect();
    for object in objects.iter().filter(|object| object.is_unlinked()) {
        unlink(writer, object.oid);
    }
    create_all(writer, &mut roles, &objects);
    for object in &objects {
        // Pages without metadata are ignored: another transaction has unlinked the object in the meantime.
        let Some(after) = &object.after else { continue };
        if object.is_created() {
            write_pages(writer, object.oid, &[0..=i32::MAX]);
        } else {
            write_changed_pages(writer, object.oid, &object.changes.pages);
            write_owner(writer, &mut roles, object, after);
        }
        write_acl(writer, &mut roles, object, after);
        write_comments(writer, object.oid, &object.changes);
    }
}

/// A large object that the transaction has changed, and its current state.
struct Object {
    oid: u32,
    changes: Changes,
    after: Option<Metadata>,
}

impl Object {
    fn read((oid, changes): (u32, Changes)) -> Self {
        let after = state::metadata(oid);
        Self {
            oid,
            changes,
            after,
        }
    }

    fn is_created(&self) -> bool {
        self.changes.is_created && self.after.is_some()
    }

    fn is_unlinked(&self) -> bool {
        self.changes.before.is_some() && (self.is_created() || self.after.is_none())
    }
}

/// A replayed statement may have dropped the object (DROP OWNED) or created it (an extension's script)
/// already; without such a statement, a missing object is an error that must be reported.
fn unlink(writer: &mut Writer<'_>, object: u32) {
    let line = if writer.replays_statements() {
        format!(
            "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata \
             WHERE oid = {object};"
        )
    } else {
        format!("SELECT pg_catalog.lo_unlink({object});")
    };
    writer.statement(line.as_bytes());
}

/// Creates the new objects, owner by owner: ALTER LARGE OBJECT … OWNER TO would take a lock for each, more
/// than fit into the target's lock table. This is necessary where lo_create is restricted.
fn create_all(writer: &mut Writer<'_>, roles: &mut Roles, objects: &[Object]) {
    let mut by_owner = BTreeMap::<u32, Vec<&Object>>::new();
    for object in objects.iter().filter(|object| object.is_created()) {
        if let Some(after) = &object.after {
            by_owner.entry(after.owner).or_default().push(object);
        }
    }
    let as_owner = !by_owner.is_empty() && state::everybody_creates();
    for (owner, objects) in by_owner {
        let owner = roles.name(writer, owner).filter(|_| as_owner);
        if let Some(owner) = &owner {
            writer.statement(&[b"SET LOCAL ROLE ", &owner[..], b";"].concat());
        }
        for object in &objects {
            create(writer, object.oid);
        }
        if owner.is_some() {
            writer.statement(b"SET LOCAL ROLE NONE;");
        }
        for object in objects.iter().filter(|_| owner.is_none()) {
            if let Some(after) = &object.after {
                write_owner(writer, roles, object, after);
            }
        }
    }
}

fn create(writer: &mut Writer<'_>, object: u32) {
    let unless_there = if writer.replays_statements() {
        format!(
            " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = {object})"
        )
    } else {
        String::new()
    };
    let line = format!("SELECT pg_catalog.lo_create({object}){unless_there};");
    writer.statement(line.as_bytes());
}

fn write_owner(writer: &mut Writer<'_>, roles: &mut Roles, object: &Object, after: &Metadata) {
    let is_the_same = match &object.changes.before {
        _ if object.is_created() => false,
        Some(before) => before.owner == after.owner,
        None => true,
    };
    if is_the_same {
        return;
    }
    let oid = object.oid;
    let Some(owner) = roles.name(writer, after.owner) else {
        return writer.flag(&format!(
            "large object {oid} has an owner that no longer exists"
        ));
    };
    let head = format!("ALTER LARGE OBJECT {oid} OWNER TO ");
    writer.statement(&[head.as_bytes(), &owner, b";"].concat());
}

fn write_acl(writer: &mut Writer<'_>, roles: &mut Roles, object: &Object, after: &Metadata) {
    let before = object.changes.before.as_ref();
    if object.is_created() {
        large_object_acl::write(writer, roles, object.oid, None, after);
    } else if before.is_some() {
        large_object_acl::write(writer, roles, object.oid, before, after);
    }
}

/// Sets the size, by adding zeros or truncating.
fn truncate(writer: &mut Writer<'_>, object: u32, size: u64) {
    let line = format!(
        "SELECT pg_catalog.lo_truncate64(fd, {size}), pg_catalog.lo_close(fd) \
         FROM pg_catalog.lo_open({object}, {OPEN_TO_WRITE}) AS fd;"
    );
    writer.statement(line.as_bytes());
}

fn write_changed_pages(writer: &mut Writer<'_>, object: u32, pages: &[ChangedPage]) {
    let Some(shrunk) = first_shrunk(object, pages) else {
        return write_pages(writer, object, &runs(pages));
    };
    // After a page that was truncated or removed everything is written again.
    truncate(writer, object, state::size(object).min(offset(shrunk)));
    let unaffected = pages.partition_point(|page| page.number < shrunk);
    let mut ranges = runs(&pages[..unaffected]);
    ranges.push(shrunk..=i32::MAX);
    write_pages(writer, object, &ranges);
}

/// The first page that has lost bytes since before the transaction.
fn first_shrunk(object: u32, pages: &[ChangedPage]) -> Option<i32> {
    let there_before: Vec<ChangedPage> = pages
        .iter()
        .copied()
        .filter(|page| page.length_before.is_some())
        .collect();
    let mut now = Vec::new();
    for run in runs(&there_before) {
        now.extend(state::page_lengths(object, run));
    }
    let has_shrunk = |page: &&ChangedPage| {
        let length = now
            .binary_search_by_key(&page.number, |(number, _)| *number)
            .map_or(None, |at| Some(now[at].1));
        length < page.length_before
    };
    there_before.iter().find(has_shrunk).map(|page| page.number)
}

/// Consecutive page numbers, as ranges.
fn runs(pages: &[ChangedPage]) -> Vec<RangeInclusive<i32>> {
    let follow = |a: &ChangedPage, b: &ChangedPage| a.number.checked_add(1) == Some(b.number);
    pages
        .chunk_by(follow)
        .map(|run| run[0].number..=run[run.len() - 1].number)
        .collect()
}

fn write_pages(writer: &mut Writer<'_>, object: u32, ranges: &[RangeInclusive<i32>]) {
    let mut piece = Piece::new(object);
    let mut last_empty = None;
    for range in ranges {
        state::each_page(object, range.clone(), |number, data| {
            piece.push(writer, offset(number), data);
            if data.is_empty() {
                last_empty = Some(offset(number));
            }
        });
    }
    piece.flush(writer);
    // A size that is a multiple of the page size is kept by an empty page at the end.
    if let Some(size) = last_empty.filter(|size| *size == state::size(object)) {
        truncate(writer, object, size);
    }
}

/// Pages without a gap between them, up to the maximum length of a line.
struct Piece {
    object: u32,
    offset: u64,
    data: Vec<u8>,
}

impl Piece {
    fn new(object: u32) -> Self {
        Self {
            object,
            offset: 0,
            data: Vec::with_capacity(MOST_BYTES_PER_LINE),
        }
    }

    fn push(&mut self, writer: &mut Writer<'_>, offset: u64, data: &[u8]) {
        let is_next = self.offset + self.data.len() as u64 == offset;
        if !is_next || self.data.len() + PAGE_SIZE > MOST_BYTES_PER_LINE {
            self.flush(writer);
        }
        if self.data.is_empty() {
            self.offset = offset;
        }
        self.data.extend_from_slice(data);
    }

    fn flush(&mut self, writer: &mut Writer<'_>) {
        if self.data.is_empty() {
            return;
        }
        let head = format!(
            "SELECT pg_catalog.lo_put({}, {}, E'\\\\x",
            self.object, self.offset
        );
        let mut line = Vec::with_capacity(head.len() + 2 * self.data.len() + 4);
        line.extend_from_slice(head.as_bytes());
        for byte in &self.data {
            line.push(HEXADECIMAL[usize::from(byte >> 4)]);
            line.push(HEXADECIMAL[usize::from(byte & 15)]);
        }
        line.extend_from_slice(b"');");
        writer.statement(&line);
        self.data.clear();
    }
}

const HEXADECIMAL: &[u8; 16] = b"0123456789abcdef";

fn write_comments(writer: &mut Writer<'_>, object: u32, changes: &Changes) {
    let value = |text: Option<&Vec<u8>>| text.map_or(b"NULL".to_vec(), |text| quote::literal(text));
    if changes.has_comment_changed {
        let head = format!("COMMENT ON LARGE OBJECT {object} IS ");
        let comment = state::comment(object);
        writer.statement(&[head.as_bytes(), &value(comment.as_ref()), b";"].concat());
    }
    if changes.labels.is_empty() {
        return;
    }
    let labels = state::labels(object);
    for provider in &changes.labels {
        let label = labels.iter().find(|(name, _)| name == provider);
        let provider = quote::identifier(provider);
        let head = format!(" ON LARGE OBJECT {object} IS ");
        let label = value(label.map(|(_, label)| label));
        writer.statement(
            &[
                b"SECURITY LABEL FOR ",
                &provider[..],
                head.as_bytes(),
                &label,
                b";",
            ]
            .concat(),
        );
    }
}
