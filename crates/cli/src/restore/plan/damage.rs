//! What a damaged description of a chain means for a plan that can be made without it.

use archive::flags::FLAGS;
use archive::layout::names::{parse_chain_name, BASE};
use archive::storage::Storage;

use super::choice::Wish;
use super::moment::Moment;

/// Whether a plan from this chain on may be another one with the file.
pub(super) fn is_needed(
    storage: &dyn Storage,
    error: &archive::Error,
    wish: &Wish,
    chosen: u32,
) -> bool {
    let archive::Error::Damaged { path, .. } = error else {
        return true;
    };
    let below = path.to_string_lossy();
    let below = below
        .strip_prefix(storage.place("").as_str())
        .unwrap_or(&below);
    let mut parts = below.trim_start_matches('/').split('/');
    let chain = parts.next().and_then(parse_chain_name);
    let is_candidate = chain.is_none_or(|chain| match wish.chain {
        Some(number) => chain == number,
        // The newest that reaches the moment is chosen; an LSN or a transaction must be in one only.
        None => chain >= chosen || !matches!(wish.moment, Moment::Newest | Moment::Time(_)),
    });
    is_candidate
        && parts
            .next()
            .is_none_or(|file| file != BASE && file != FLAGS)
}
