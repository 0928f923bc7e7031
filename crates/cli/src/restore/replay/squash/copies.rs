//! The rows of net effects as COPY sends them.

use archive_query::history::literal::Value;
use archive_query::history::statement::Statement;
use bytes::Bytes;
use futures_util::SinkExt;

use super::apply::{ensure_count, Into, Kind, Sorted};
use super::net::{Place, Row};
use super::table::push_field;
use crate::error::{Error, Result};

/// Bytes of a COPY that are sent at once.
const PIECE: usize = 256 << 10;

/// Lines of a file are fewer than this.
const LINES: u64 = 1 << 40;

impl Into<'_> {
    pub(super) async fn copy_changes(
        &self,
        sorted: &Sorted,
        used: &[usize],
        copies: bool,
    ) -> Result<()> {
        let head = "COPY pg_temp.incr_squash FROM stdin";
        let mut sink = Box::pin(self.session.client.copy_in(head).await?);
        let mut out = Vec::with_capacity(PIECE + PIECE / 4);
        let no_keys = b"\t\\N".repeat(self.key.columns.len());
        for (kind, row) in &sorted.rows {
            let values = self.values(row)?;
            let letters: &[u8] = match kind {
                Kind::Out => b"d",
                Kind::InPlace => b"u",
                Kind::Partly => b"p",
                Kind::Whole if copies => b"d",
                Kind::Whole => b"db",
                Kind::New if copies => b"",
                Kind::New => b"b",
            };
            for letter in letters {
                out.extend_from_slice(number_of(row.place).to_string().as_bytes());
                out.extend_from_slice(&[b'\t', *letter, b'\t']);
                if sorted.is_masked {
                    out.extend(
                        used.iter()
                            .map(|number| b'0' + u8::from(values[*number].is_some())),
                    );
                }
                match (&row.origin, letter) {
                    (Some(origin), b'd' | b'u' | b'p') => {
                        out.push(b'\t');
                        out.extend_from_slice(origin);
                    }
                    _ => out.extend_from_slice(&no_keys),
                }
                for number in used {
                    out.push(b'\t');
                    let value = values[*number].as_ref().filter(|_| *letter != b'd');
                    push_field(&mut out, value);
                }
                out.push(b'\n');
            }
            if out.len() >= PIECE {
                let piece = std::mem::replace(&mut out, Vec::with_capacity(PIECE + PIECE / 4));
                sink.send(Bytes::from(piece)).await?;
            }
        }
        sink.send(Bytes::from(out)).await?;
        sink.as_mut().finish().await?;
        Ok(())
    }

    /// New rows, into the table itself.
    pub(super) async fn copy_new(&self, sorted: &Sorted) -> Result<()> {
        let inserted = &sorted.inserted;
        let head = [
            b"COPY ",
            self.name,
            b" ",
            &self.list(inserted),
            b" FROM stdin",
        ]
        .concat();
        // It was asked before whether it is.
        let head = String::from_utf8_lossy(&head);
        let mut sink = Box::pin(self.session.client.copy_in(&*head).await?);
        let mut out = Vec::with_capacity(PIECE + PIECE / 4);
        let is_new = |kind: Kind| matches!(kind, Kind::New | Kind::Whole);
        for (_, row) in sorted.rows.iter().filter(|(kind, _)| is_new(*kind)) {
            let values = self.values(row)?;
            for (nth, number) in inserted.iter().enumerate() {
                if nth > 0 {
                    out.push(b'\t');
                }
                push_field(&mut out, values[*number].as_ref());
            }
            out.push(b'\n');
            if out.len() >= PIECE {
                let piece = std::mem::replace(&mut out, Vec::with_capacity(PIECE + PIECE / 4));
                sink.send(Bytes::from(piece)).await?;
            }
        }
        sink.send(Bytes::from(out)).await?;
        let count = sink.as_mut().finish().await?;
        ensure_count(count, sorted.new)
    }

    /// The values that a row's lines set.
    fn values<'r>(&self, row: &'r Row) -> Result<Vec<Option<Value<'r>>>> {
        let mut values: Vec<Option<Value<'r>>> = vec![None; self.columns.len()];
        for layer in row.layers() {
            let order = &layer.sets.order;
            let statement = Statement::parse(&layer.text);
            let statement = statement.filter(|statement| statement.new.len() == order.len());
            let Some(statement) = statement else {
                return Err(Error::failed(
                    "a line that was collected cannot be read",
                    "Please report it.",
                ));
            };
            for (number, (_, value)) in order.iter().zip(statement.new) {
                values[*number] = Some(value);
            }
        }
        Ok(values)
    }
}

/// A number for the place of a row's first line: no two rows have the same.
fn number_of(place: Place) -> u64 {
    u64::from(place.file) * LINES + place.line
}

pub(super) fn place_of(number: u64) -> Place {
    Place {
        file: u32::try_from(number / LINES).unwrap_or(u32::MAX),
        line: number % LINES,
    }
}
