//! Rows of a dump in plain format, by several sessions: each reads the file from where the rows of a table begin.

use archive::dump::Listed;
use futures_util::future::try_join_all;

use super::super::ahead::Ahead;
use super::super::beside::{is_beside, Job, Work};
use super::super::counted::Count;
use super::super::entry::Entries;
use super::super::pieces::Row;
use super::super::Loading;
use super::{open, Reader};
use crate::error::Result;

/// Loads all rows from entry `at` on by the sessions beside that of the restore. One file that is compressed can only be
/// read from its beginning: each session reads it, and takes the next rows that nobody has.
pub(super) async fn rows<'a>(
    loading: &Loading<'a>,
    entries: &mut Entries<'a>,
    toc: &[Listed],
    at: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    entries.open_to_others().await?;
    let mut jobs = Vec::new();
    for (number, at) in (entries.next..).zip(at..toc.len()) {
        let is_done = number < entries.done || entries.loaded.contains(&number);
        if is_beside(&toc[at]) && !is_done {
            let next = toc.get(at + 1).map_or(0, |next| next.offset);
            let size = next.saturating_sub(toc[at].offset);
            jobs.push(Job { number, at, size });
        }
    }
    let is_compressed = loading.base.metadata.dump.ends_with(".gz");
    if !is_compressed {
        jobs.sort_by_key(|job| std::cmp::Reverse(job.size));
    }
    let work = Work::new(jobs, loading.sessions.len(), progress);
    let this = &*entries;
    let sessions = loading.sessions.iter().enumerate();
    try_join_all(sessions.map(|(nth, session)| {
        let work = &work;
        async move {
            let number = i32::try_from(nth + 1).unwrap_or(i32::MAX);
            let mut own = this.beside(session, number).await?;
            let mut input: Option<(Ahead, Count)> = None;
            let mut read = 0;
            while let Some(job) = work.next() {
                let entry = &toc[job.at];
                let start = if is_compressed { 0 } else { entry.offset };
                let (mut ahead, count) = match input.take() {
                    Some(input) => input,
                    None => {
                        let (input, count) = open(loading, start)?;
                        (Ahead::start(input), count)
                    }
                };
                let file = loading.file(&loading.base.metadata.dump);
                if is_compressed {
                    let passed = ahead.pass(entry.offset, &mut || {}).await;
                    passed.map_err(loading.unreadable(&file))?;
                }
                own.next = job.number;
                let mut reader = Reader {
                    input: ahead,
                    start,
                    file,
                    loading,
                    entries: &mut own,
                    row: Row::default(),
                };
                // A compressed file is read by all of them.
                let share = |bytes: u64| {
                    if is_compressed {
                        bytes / loading.sessions.len() as u64
                    } else {
                        read + bytes.min(job.size)
                    }
                };
                let mut tell = |bytes| work.tell(nth, share(bytes));
                let next = toc.get(job.at + 1);
                reader.entry(entry, next, &mut tell, &count).await?;
                work.is_done(&job);
                if is_compressed {
                    input = Some((reader.input, count));
                }
                read += job.size;
            }
            own.leave().await
        }
    }))
    .await?;
    let done = work.into_done();
    entries.loaded.extend(done);
    Ok(())
}
