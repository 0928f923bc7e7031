//! A row with a large value, as a COPY of one row: it is sent in pieces, so that neither side has all of it more than
//! once. As a statement it would be in memory several times.

use std::ops::Range;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;

use super::shape::{self, Value};

/// A statement of this length is worth it.
pub const LARGE: usize = 1 << 20;
/// Bytes of a piece.
const PIECE: usize = 256 << 10;

/// An INSERT: the table with its columns, and the values.
struct Insert {
    head: Range<usize>,
    values: Vec<Value>,
}

/// Executes a large INSERT; `None` for a statement that must be sent as it is.
pub async fn insert(
    client: &Client,
    is_utf8: bool,
    line: &[u8],
) -> Option<Result<u64, tokio_postgres::Error>> {
    let insert = parse(line)?;
    let head = std::str::from_utf8(&line[insert.head]).ok()?;
    if line.len() < LARGE || !(is_utf8 || head.is_ascii()) {
        return None;
    }
    Some(copy(client, head, line, &insert.values).await)
}

async fn copy(
    client: &Client,
    head: &str,
    line: &[u8],
    values: &[Value],
) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in(&format!("COPY {head} FROM stdin")).await?;
    let mut sink = Box::pin(sink);
    let mut piece = Vec::with_capacity(PIECE);
    for (nth, value) in values.iter().enumerate() {
        if nth > 0 {
            piece.push(b'\t');
        }
        let mut rest = match value {
            Value::Null => {
                piece.extend_from_slice(b"\\N");
                continue;
            }
            Value::Plain(range) => &line[range.clone()],
            Value::Quoted(range, _) => &line[range.clone()],
        };
        let escapes = matches!(value, Value::Quoted(_, true));
        while !rest.is_empty() {
            rest = put_some(&mut piece, rest, escapes);
            if piece.len() >= PIECE / 2 {
                sink.send(Bytes::from(std::mem::replace(
                    &mut piece,
                    Vec::with_capacity(PIECE),
                )))
                .await?;
            }
        }
    }
    piece.push(b'\n');
    sink.send(Bytes::from(piece)).await?;
    sink.as_mut().finish().await
}

/// Appends some of the inside of a literal as COPY has it; returns what is left.
fn put_some<'a>(piece: &mut Vec<u8>, inside: &'a [u8], escapes: bool) -> &'a [u8] {
    let mut at = 0;
    while at < inside.len() && piece.len() < PIECE / 2 {
        let special = |byte: &u8| matches!(byte, b'\\' | b'\'' | b'\n' | b'\r' | b'\t');
        let end = inside.len().min(at + PIECE / 4);
        let plain = inside[at..end].iter().position(special).unwrap_or(end - at);
        piece.extend_from_slice(&inside[at..at + plain]);
        at += plain;
        if at >= end {
            continue;
        }
        match inside[at] {
            // Doubled in a literal.
            b'\'' => {
                piece.push(b'\'');
                at += 2;
            }
            // The escapes of our literals are COPY's.
            b'\\' if escapes => {
                let next = inside.get(at + 1).copied().unwrap_or(b'\\');
                piece.extend_from_slice(&[b'\\', next]);
                at += 2;
            }
            b'\\' => {
                piece.extend_from_slice(b"\\\\");
                at += 1;
            }
            b'\n' | b'\r' | b'\t' => {
                piece.extend_from_slice(match inside[at] {
                    b'\n' => b"\\n",
                    b'\r' => b"\\r",
                    _ => b"\\t",
                });
                at += 1;
            }
            byte => {
                piece.push(byte);
                at += 1;
            }
        }
    }
    &inside[at.min(inside.len())..]
}

fn parse(line: &[u8]) -> Option<Insert> {
    const INSERT: &[u8] = b"INSERT INTO ";
    const OVERRIDING: &[u8] = b" OVERRIDING SYSTEM VALUE";
    line.strip_prefix(INSERT)?;
    let (at, values) = shape::values_of_insert(line)?;
    let head = &line[INSERT.len()..at];
    let head = head.strip_suffix(OVERRIDING).unwrap_or(head);
    Some(Insert {
        head: INSERT.len()..INSERT.len() + head.len(),
        values,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_large_insert_is_the_same_as_a_row_of_copy() {
        let line =
            b"INSERT INTO public.t (a, \"b VALUES (\") OVERRIDING SYSTEM VALUE VALUES (1, null);";
        let insert = parse(line).unwrap();
        assert_eq!(&line[insert.head], b"public.t (a, \"b VALUES (\")");
        assert_eq!(insert.values.len(), 2);
        assert!(parse(b"UPDATE t SET a = 1;").is_none());
        assert!(parse(b"INSERT INTO t DEFAULT VALUES;").is_none());
    }

    #[test]
    fn literals_become_fields() {
        for (inside, escapes, field) in [
            ("it''s", false, "it's"),
            ("a\\b\tc", false, "a\\\\b\\tc"),
            ("a\\nb\\\\c\\td''", true, "a\\nb\\\\c\\td'"),
            ("", false, ""),
        ] {
            let mut piece = Vec::new();
            let mut rest = inside.as_bytes();
            while !rest.is_empty() {
                rest = put_some(&mut piece, rest, escapes);
            }
            assert_eq!(String::from_utf8(piece).unwrap(), field, "{inside}");
        }
    }

    #[test]
    fn a_literal_is_not_cut_within_an_escape() {
        let inside = [b"x".repeat(PIECE / 4 - 1), b"\\\\''\\n".repeat(PIECE / 4)].concat();
        let (mut whole, mut rest) = (Vec::new(), &inside[..]);
        while !rest.is_empty() {
            let mut piece = Vec::new();
            rest = put_some(&mut piece, rest, true);
            assert!(!piece.is_empty() && piece.len() < PIECE);
            whole.extend(piece);
        }
        let expected = [b"x".repeat(PIECE / 4 - 1), b"\\\\'\\n".repeat(PIECE / 4)].concat();
        assert!(whole == expected);
    }
}
