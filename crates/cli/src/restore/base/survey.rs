//! The definitions of a base, looked at and not executed.

use archive::dump::Listed;

use super::words::Wording;
use super::{directory, plain, Loading};
use crate::error::Result;

/// Shows each definition of the dump to `visit`; none of one without a table of contents.
pub async fn definitions(
    loading: &Loading<'_>,
    visit: &mut dyn FnMut(&Listed, &[u8]),
) -> Result<()> {
    if loading.is_plain() {
        return plain::survey(loading, visit).await;
    }
    let (toc, kept) = (directory::toc(loading)?, directory::kept(loading)?);
    let mut wording = Wording::default();
    for entry in directory::order(&toc, kept.as_ref()) {
        if let Ok(text) = wording.of(&toc, entry) {
            visit(&directory::listed(entry), &text);
        }
    }
    Ok(())
}
