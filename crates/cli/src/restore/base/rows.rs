//! Rows of a table: a COPY statement, and lines up to `\.`.
//!
//! They are passed on in chunks as they are, in the encoding of the dump, so a value may be of any length.

use std::io;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use memchr::memmem;

use super::ahead::Ahead;
use crate::connection::Session;
use crate::error::{Error, Result};

/// The end of rows, with the end of the line before it. In a value, a backslash is doubled.
const END: &[u8] = b"\n\\.\n";
/// Longer ones do not exist: a table has at most 1,600 columns, with names of up to 63 bytes.
const LONGEST_STATEMENT: usize = 1 << 20;

/// `COPY table (columns) FROM stdin;`, as pg_dump writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStatement {
    /// Qualified and quoted.
    table: Vec<u8>,
    /// In parentheses; empty for a table without columns.
    columns: Vec<u8>,
}

impl CopyStatement {
    /// The statement at the beginning of `text`, behind comments (that of a table that is loaded by the root of its
    /// partitions), and the number of bytes up to its end. `None` if it is something else, or not complete.
    pub fn parse(text: &[u8]) -> Option<(CopyStatement, usize)> {
        let mut at = 0;
        while text[at..].starts_with(b"-- ") || text[at..].starts_with(b"\n") {
            // A name in the comment may contain line ends, in quotes.
            at += outside_quotes(&text[at..], b'\n')? + 1;
        }
        let end = at + outside_quotes(&text[at..], b'\n')?;
        let statement = text[at..end].strip_prefix(b"COPY ")?;
        let statement = statement.strip_suffix(b" FROM stdin;")?;
        let name = outside_quotes(statement, b' ').unwrap_or(statement.len());
        let (table, columns) = statement.split_at(name);
        let columns = columns.trim_ascii();
        let is_list = columns.is_empty() || columns.starts_with(b"(") && columns.ends_with(b")");
        let has_more = outside_quotes(statement, b';').is_some();
        (is_list && !has_more && !table.is_empty()).then(|| {
            let statement = CopyStatement {
                table: table.to_vec(),
                columns: columns.to_vec(),
            };
            (statement, end + 1)
        })
    }

    /// The table, qualified and quoted.
    pub fn table(&self) -> &[u8] {
        &self.table
    }

    fn to_sql(&self) -> Vec<u8> {
        [
            b"COPY ",
            &self.table[..],
            b" ",
            &self.columns,
            b" FROM stdin",
        ]
        .concat()
    }

    /// Copies the rows that follow in `input`, up to the end of their last line. The number of rows. `tick` is called now
    /// and then.
    pub async fn copy(
        &self,
        session: &Session,
        is_utf8: bool,
        input: &mut Ahead,
        unreadable: impl Fn(io::Error) -> Error,
        tick: &mut dyn FnMut(),
    ) -> Result<u64> {
        match String::from_utf8(self.to_sql()) {
            Ok(sql) if is_utf8 || sql.is_ascii() => {
                copy_in(session, &sql, input, unreadable, tick).await
            }
            _ => self.copy_indirectly(session, input, unreadable, tick).await,
        }
    }

    /// The client sends no other text than UTF-8 as a statement: a table whose names are not gets its rows by one
    /// whose name is.
    async fn copy_indirectly(
        &self,
        session: &Session,
        input: &mut Ahead,
        unreadable: impl Fn(io::Error) -> Error,
        tick: &mut dyn FnMut(),
    ) -> Result<u64> {
        const HELP: &[u8] = b"pg_temp.pg_incrbackup_rows";
        let columns = self.columns.strip_prefix(b"(").unwrap_or_default();
        let columns = columns.strip_suffix(b")").unwrap_or_default();
        let begin = [
            b"CREATE TEMPORARY TABLE pg_incrbackup_rows AS SELECT ",
            columns,
            b" FROM ",
            &self.table,
        ];
        let begin = [&begin.concat()[..], b" WITH NO DATA"].concat();
        session.statement(&begin).await?;
        let copy = format!("COPY {} FROM stdin", String::from_utf8_lossy(HELP));
        let count = copy_in(session, &copy, input, unreadable, tick).await?;
        let into = [b"INSERT INTO ", &self.table[..], b" ", &self.columns];
        let from: [&[u8]; 2] = [b" OVERRIDING SYSTEM VALUE SELECT * FROM ", HELP];
        // Rows keep their order.
        let set = "SET synchronize_seqscans = off; SET enable_parallel_append = off";
        session.client.batch_execute(set).await?;
        session
            .statement(&[into.concat(), from.concat()].concat())
            .await?;
        session.statement(&[b"DROP TABLE ", HELP].concat()).await?;
        Ok(count)
    }
}

async fn copy_in(
    session: &Session,
    sql: &str,
    input: &mut Ahead,
    unreadable: impl Fn(io::Error) -> Error,
    tick: &mut dyn FnMut(),
) -> Result<u64> {
    let sink = session.client.copy_in::<_, Bytes>(sql).await?;
    let mut sink = std::pin::pin!(sink);
    let finder = memmem::Finder::new(END);
    // The end may be split between chunks, and there may be no row before it.
    let mut buffer = BytesMut::from(&b"\n"[..]);
    let mut to_skip = 1;
    let mut count = 0;
    loop {
        let Some(chunk) = input.next().await.map_err(&unreadable)? else {
            let cut_off = "the file ends within the rows of a table";
            return Err(unreadable(super::odd(cut_off)));
        };
        tick();
        buffer.extend_from_slice(&chunk);
        let found = finder.find(&buffer);
        let end = found.map_or(buffer.len().saturating_sub(END.len() - 1), |at| at + 1);
        let mut rows = buffer.split_to(end).freeze();
        let skipped = rows.split_to(to_skip.min(rows.len()));
        to_skip -= skipped.len();
        if !rows.is_empty() {
            count += memchr::memchr_iter(b'\n', &rows).count() as u64;
            sink.as_mut().feed(rows).await?;
        }
        if found.is_some() {
            input.put_back(buffer.split_off(END.len() - 1).freeze());
            let taken = sink.as_mut().finish().await?;
            if taken != count {
                let message = format!("COPY took {taken} rows of {count}");
                return Err(Error::failed(message, ""));
            }
            return Ok(count);
        }
    }
}

/// Where `byte` is first found outside of double quotes.
fn outside_quotes(text: &[u8], byte: u8) -> Option<usize> {
    let mut is_quoted = false;
    text.iter().position(|found| {
        is_quoted ^= *found == b'"';
        *found == byte && !is_quoted
    })
}

/// Reads as far as necessary: the statement at the beginning of an entry of rows. `None` if there is none.
pub async fn statement_of(input: &mut Ahead) -> io::Result<Option<CopyStatement>> {
    let mut head = Vec::new();
    while let Some(chunk) = input.next().await? {
        head.extend_from_slice(&chunk);
        if let Some((statement, length)) = CopyStatement::parse(&head) {
            input.put_back(head.split_off(length).into());
            return Ok(Some(statement));
        }
        if head.len() > LONGEST_STATEMENT {
            break;
        }
    }
    Ok(None)
}

/// Passes over the rows that follow, up to the line behind the last one: how many there are.
pub async fn skip(input: &mut Ahead) -> io::Result<u64> {
    let mut rows = 0;
    while let Some(line) = input.line().await? {
        if line == END[1..] {
            return Ok(rows);
        }
        rows += 1;
    }
    Err(super::odd("the file ends within the rows of a table"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_found_whatever_the_names_are() {
        for (table, columns) in [
            ("\"public\".\"t\"", "(\"a\", \"b\")"),
            ("public.t", ""),
            ("\"a b\n;\".\"x\"\" FROM stdin;\"", "(\"c\n(\", \"d;\n\")"),
            ("\"-- \n\".\"\\.\n\"", "(\":x\")"),
        ] {
            for comment in ["", "-- load via partition root \"a\n;\".\"b\"\n\n"] {
                let text = format!("{comment}COPY {table} {columns} FROM stdin;\n1\t2\n");
                let (statement, length) = CopyStatement::parse(text.as_bytes()).unwrap();
                assert_eq!(statement.table, table.as_bytes());
                assert_eq!(statement.columns, columns.as_bytes());
                assert_eq!(&text[length..], "1\t2\n");
                for end in 0..length {
                    assert_eq!(CopyStatement::parse(&text.as_bytes()[..end]), None);
                }
            }
        }
    }

    #[test]
    fn what_is_no_such_statement_is_refused() {
        for text in [
            "INSERT INTO t VALUES (1);\n",
            "COPY t TO stdout;\n",
            "COPY t FROM PROGRAM 'x'; --  FROM stdin;\n",
            "COPY t (a) FROM stdin; DROP TABLE t; COPY t (a) FROM stdin;\n",
            "COPY t FROM '/etc/passwd' FROM stdin;\n",
            "COPY  FROM stdin;\n",
        ] {
            assert_eq!(CopyStatement::parse(text.as_bytes()), None, "{text}");
        }
    }
}
