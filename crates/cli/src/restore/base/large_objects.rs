//! The contents of large objects.

use std::io;

use tokio_postgres::types::Type;

use super::ahead::Ahead;
use crate::connection::Session;
use crate::error::{Error, Result};

/// INV_WRITE of PostgreSQL's libpq-fs.h.
const INV_WRITE: i32 = 0x20000;
/// What is sent at once, in bytes.
const BATCH: usize = 256 * 1024;

/// Executes the statements in `input`, up to COMMIT, in the transaction that is open. All others than those of pg_dump are an error, so several can be
/// sent at once.
pub async fn execute(
    session: &Session,
    input: &mut Ahead,
    unreadable: impl Fn(io::Error) -> Error,
) -> Result<()> {
    let mut batch = String::new();
    loop {
        let line = input.line().await.map_err(&unreadable)?;
        let Some(line) = line.filter(|line| is_known(line)) else {
            let why = "a statement of a kind that pg_dump does not write for large objects";
            return Err(unreadable(super::odd(why)));
        };
        let is_last = line == b"COMMIT;\n";
        if !is_frame(&line) {
            batch.push_str(&String::from_utf8_lossy(&line));
        }
        if is_last || batch.len() > BATCH {
            session.client.batch_execute(&batch).await?;
            batch.clear();
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The transaction of pg_dump: that of the restore also says that it is done.
pub fn is_frame(line: &[u8]) -> bool {
    matches!(line, b"BEGIN;\n" | b"COMMIT;\n")
}

/// Passes over the statements in `input`, up to COMMIT.
pub async fn skip(input: &mut Ahead) -> io::Result<()> {
    while let Some(line) = input.line().await? {
        if line == b"COMMIT;\n" {
            return Ok(());
        }
    }
    Err(super::odd("the file ends within large objects"))
}

/// Whether it is a line of pg_dump's for large objects: one statement, without effect on anything else.
pub fn is_known(line: &[u8]) -> bool {
    let within = |start: &[u8], end: &[u8], is_allowed: fn(&u8) -> bool| {
        let middle = line
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end));
        middle.is_some_and(|middle| middle.iter().all(is_allowed))
    };
    matches!(
        line,
        b"\n" | b"BEGIN;\n" | b"COMMIT;\n" | b"SELECT pg_catalog.lo_close(0);\n"
    ) || within(
        b"SELECT pg_catalog.lo_open('",
        b"', 131072);\n",
        u8::is_ascii_digit,
    ) || within(
        b"SELECT pg_catalog.lowrite(0, '\\x",
        b"');\n",
        u8::is_ascii_hexdigit,
    )
}

/// Writes one that exists and is empty, from all of `input`, in the transaction that is open.
pub async fn write(
    session: &Session,
    oid: u32,
    input: &mut Ahead,
    unreadable: impl Fn(io::Error) -> Error,
) -> Result<()> {
    let client = &session.client;
    let open = "SELECT pg_catalog.lo_open($1, $2)";
    let rows = client
        .query_typed(open, &[(&oid, Type::OID), (&INV_WRITE, Type::INT4)])
        .await?;
    let descriptor: i32 = rows[0].get(0);
    while let Some(bytes) = input.next().await.map_err(&unreadable)? {
        let write = "SELECT pg_catalog.lowrite($1, $2)";
        client
            .query_typed(
                write,
                &[(&descriptor, Type::INT4), (&&bytes[..], Type::BYTEA)],
            )
            .await?;
    }
    let close = "SELECT pg_catalog.lo_close($1)";
    client
        .query_typed(close, &[(&descriptor, Type::INT4)])
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_statements_of_pg_dump_are_executed() {
        for line in [
            "BEGIN;\n",
            "\n",
            "SELECT pg_catalog.lo_open('16399', 131072);\n",
            "SELECT pg_catalog.lowrite(0, '\\x00ff');\n",
            "SELECT pg_catalog.lo_close(0);\n",
            "COMMIT;\n",
        ] {
            assert!(is_known(line.as_bytes()), "{line}");
        }
        for line in [
            "DROP TABLE t;\n",
            "SELECT pg_catalog.lo_open('1', 131072); SELECT pg_catalog.lo_open('16399', 131072);\n",
            "SELECT pg_catalog.lowrite(0, '\\x00'), lo_import('/etc/passwd');\n",
            "SELECT pg_catalog.lowrite(0, '\\x00ff'); COMMIT;\n",
            "COMMIT;",
        ] {
            assert!(!is_known(line.as_bytes()), "{line}");
        }
    }
}
