//! Changes of single rows, which most lines of a segment are, many at once: they are nothing but lines to a scanner.

use std::io::{self, BufRead, Read};

use super::{Scanner, State};

/// Whether a line is passed over here; the others are read one by one.
#[inline]
fn is_row(line: &[u8]) -> bool {
    let begins = line.starts_with(b"UPDATE ")
        || line.starts_with(b"INSERT INTO ")
        || line.starts_with(b"DELETE FROM ");
    begins && line.last() == Some(&b';')
}

impl<R: Read> Scanner<R> {
    /// Passes over changes of rows that follow in a transaction, as many as were read from the file at once; `take` gets
    /// their lines, each with its end. The number of these; 0 if [`Self::next_line`] must read the next one. No event is
    /// among them, and [`Self::text`] and [`Self::head`] say nothing about them.
    pub fn pass_rows(&mut self, take: impl FnOnce(&[u8])) -> io::Result<u64> {
        if self.state != State::Inside {
            return Ok(0);
        }
        let available = match self.input.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(error),
        };
        let (length, lines) = rows_of(available);
        if lines > 0 {
            take(&available[..length]);
            self.input.consume(length);
            self.offset += length as u64;
            self.number += lines;
            self.statements += lines;
        }
        Ok(lines)
    }
}

/// The length of the changes of rows that `text` begins with, and their number.
fn rows_of(text: &[u8]) -> (usize, u64) {
    let (mut length, mut lines) = (0, 0);
    for newline in memchr::memchr_iter(b'\n', text) {
        let line = &text[length..newline];
        if !is_row(line) {
            break;
        }
        length = newline + 1;
        lines += 1;
    }
    // What a lost page is read as: the line that has it is damage.
    if let Some(nul) = memchr::memchr(0, &text[..length]) {
        length = memchr::memrchr(b'\n', &text[..nul]).map_or(0, |end| end + 1);
        lines = memchr::memchr_iter(b'\n', &text[..length]).count() as u64;
    }
    (length, lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Event, Part};
    use super::*;

    const HEADER: &str = "-- pg_incrbackup segment format=2\n\
        -- @0123456789abcdef header system_identifier=7 timeline=1 database_oid=5 database=app chain=1 start_lsn=0/10 \
        next_xid=700 opened_at=2026-11-30T08:00:00.000000Z server_version=150020 encoding=UTF8 previous=none \
        previous_sha256=none\n\
        \\restrict 0123456789abcdef\nSET search_path = '';\n";
    const BEGIN: &str = "-- @0123456789abcdef transaction xid=700 commit_lsn=0/20 \
        commit_time=2026-11-30T08:00:01.000000Z\nBEGIN;\n";

    /// Reads at most so many bytes at once.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len());
            self.0.read(&mut buffer[..count])
        }
    }

    /// Statements with their numbers, events, and where it ends.
    type Parts = (Vec<(u64, Vec<u8>)>, Vec<Event>, u64, u64);

    fn read(text: &[u8], at_once: usize, passes: bool) -> Parts {
        let mut scanner = Scanner::with_text(Slow(text, at_once));
        let (mut lines, mut events) = (Vec::new(), Vec::new());
        loop {
            let mut number = scanner.number();
            if passes {
                scanner
                    .pass_rows(|rows| {
                        for line in rows.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n') {
                            number += 1;
                            lines.push((number, line.to_vec()));
                        }
                    })
                    .unwrap();
                assert_eq!(number, scanner.number());
            }
            match scanner.next_line().unwrap() {
                None => break,
                Some((_, Some(event))) => events.push(event),
                Some((Part::Statement, None)) => {
                    lines.push((scanner.number(), scanner.text().to_vec()));
                }
                Some(_) => {}
            }
        }
        (lines, events, scanner.complete_offset(), scanner.offset())
    }

    #[test]
    fn lines_that_are_passed_over_are_the_same_as_those_read_one_by_one() {
        let update = "UPDATE public.a SET b = 'x;' WHERE id = 1;\n";
        let copy = "COPY public.a (id) FROM stdin;\nUPDATE a;\n\\.\n";
        let flag =
            "-- @0123456789abcdef left_out object=public.v definition=x\nDELETE FROM public.a;\n";
        let setval = "SELECT pg_catalog.setval('public.s', 33, true);\n";
        for inside in [
            update.repeat(3),
            format!("{update}{copy}{update}"),
            format!("{flag}{update}INSERT INTO public.a DEFAULT VALUES;\n{setval}{update}"),
            format!("{update}TRUNCATE ONLY public.a;\n{update}"),
            // Damage: a page that is lost, and a statement of two lines.
            format!("{update}UPDATE public.a SET \0\0\0;\n{update}"),
            format!("{update}\0\0\n{update}"),
            format!("{update}UPDATE public.a\nSET b = 1;\n{update}"),
            format!("{update}UPDATE"),
        ] {
            let whole = format!("{HEADER}{BEGIN}{inside}COMMIT;\n{BEGIN}{update}COMMIT;\n");
            for text in [&whole[..], &whole[..whole.len() - 20]] {
                let one_by_one = read(text.as_bytes(), usize::MAX, false);
                assert!(one_by_one.1.len() > 1, "{inside}");
                for at_once in [1, 7, 43, 44, 100, 1000, usize::MAX] {
                    let passed = read(text.as_bytes(), at_once, true);
                    assert_eq!(passed, one_by_one, "{inside} by {at_once}");
                }
            }
        }
    }
}
