//! Segments are read several at once, and handed out in their order: what is done for each (checksum, lines) takes longer
//! than to fetch it.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::thread;

use crate::error::Result;

/// More at once than this do not pay: the storage, too, has its rate.
const MOST: usize = 4;

/// How many are read at once: as many as the machine has cores, up to a few.
pub fn at_once() -> usize {
    thread::available_parallelism().map_or(1, |cores: NonZeroUsize| cores.get().min(MOST))
}

/// What was read of segments before it is their turn.
pub struct Ahead<T> {
    count: usize,
    waiting: VecDeque<Result<T>>,
}

impl<T: Send> Ahead<T> {
    /// `count` are read at once.
    pub fn new(count: usize) -> Ahead<T> {
        Ahead {
            count,
            waiting: VecDeque::new(),
        }
    }

    /// Reads the first of these, and some behind it beside. The next call is with those from the second on, or with more
    /// left out while `count` is 1. An error is told in its turn: one that is not called for is none.
    pub fn read<S: Sync>(
        &mut self,
        segments: &[S],
        read: impl Fn(&S) -> Result<T> + Sync,
    ) -> Result<T> {
        if let Some(waiting) = self.waiting.pop_front() {
            return waiting;
        }
        let read = &read;
        thread::scope(|scope| {
            let mut beside = Vec::new();
            for segment in segments.iter().take(self.count).skip(1) {
                let thread = thread::Builder::new().name("segments".to_owned());
                // Without a thread it is read in its turn.
                let Ok(thread) = thread.spawn_scoped(scope, move || read(segment)) else {
                    break;
                };
                beside.push(thread);
            }
            let first = read(&segments[0]);
            for thread in beside {
                let done = thread.join();
                self.waiting
                    .push_back(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            first
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Error;

    #[test]
    fn what_is_read_ahead_comes_in_its_turn_once() {
        let numbers: Vec<u32> = (0..7).collect();
        for count in 1..5 {
            let calls = Mutex::new(Vec::new());
            let mut ahead = Ahead::new(count);
            for nth in 0..7 {
                let read = |number: &u32| {
                    calls.lock().unwrap().push(*number);
                    if *number == 5 {
                        return Err(Error::failed("five", ""));
                    }
                    Ok(number * 10)
                };
                let read = ahead.read(&numbers[nth..], read);
                match read {
                    Ok(number) => assert_eq!(number, numbers[nth] * 10),
                    Err(error) => assert_eq!((nth, &*error.to_string()), (5, "five")),
                }
            }
            let mut calls = calls.into_inner().unwrap();
            calls.sort_unstable();
            assert_eq!(calls, numbers, "{count} at once");
        }
    }
}
