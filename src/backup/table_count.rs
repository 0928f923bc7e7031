//! Counts the tables in pg_dump's output as it passes by, for the progress of a base.
//!
//! pg_dump puts a comment before the rows of each table. A value can look like one: then the count is
//! too high, and nothing depends on it.

use memchr::memmem;

const MARK: &[u8] = b"; Type: TABLE DATA; Schema: ";

/// What has been seen so far.
#[derive(Default)]
pub struct TableCount {
    /// The end of the last chunk, too short to hold a whole mark.
    tail: Vec<u8>,
}

impl TableCount {
    /// Takes the next chunk; gives the number of tables that begin in it.
    pub fn take(&mut self, chunk: &[u8]) -> usize {
        let reach = MARK.len() - 1;
        let mut border = std::mem::take(&mut self.tail);
        border.extend_from_slice(&chunk[..chunk.len().min(reach)]);
        let found =
            memmem::find_iter(&border, MARK).count() + memmem::find_iter(chunk, MARK).count();
        let rest = if chunk.len() >= reach { chunk } else { &border };
        self.tail = rest[rest.len().saturating_sub(reach)..].to_vec();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_counts_once_wherever_the_chunks_end() {
        let text = b"--\n-- Data for Name: a; Type: TABLE DATA; Schema: public; Owner: x\n--\n\nCOPY a;\n\
            -- Data for Name: b; Type: TABLE DATA; Schema: public; Owner: x\n-- Name: s; Type: SEQUENCE SET";
        for size in 1..text.len() {
            let mut count = TableCount::default();
            let found: usize = text.chunks(size).map(|chunk| count.take(chunk)).sum();
            assert_eq!(found, 2, "in chunks of {size}");
        }
    }
}
