//! What other transactions have changed since a statement ran, for its replay at its transaction's
//! commit.

use super::commit_view::{Before, CommitView};
use super::reach::{default_privileges, Reach};
use super::renamed::{self, Renamed};

/// Both moments of one change: none where nobody else committed in between.
pub struct SinceThen<'a> {
    moments: Option<(&'a Before, &'a mut CommitView)>,
    /// False where no name and no default privilege can have changed in between.
    is_to_be_compared: bool,
}

impl<'a> SinceThen<'a> {
    pub fn new(moments: Option<(&'a Before, &'a mut CommitView)>, is_to_be_compared: bool) -> Self {
        Self {
            moments,
            is_to_be_compared,
        }
    }

    /// What others have renamed.
    pub fn renames(&mut self) -> Vec<Renamed> {
        match &mut self.moments {
            Some((before, view)) if self.is_to_be_compared => renamed::since(before, view),
            _ => Vec::new(),
        }
    }

    /// How many objects others have brought within a statement's reach.
    pub fn newly_reached(&mut self, reach: &Reach) -> usize {
        self.moments.as_mut().map_or(0, |(before, view)| {
            let reached = view.outside(before, || reach.objects());
            reach.objects().difference(&reached).count()
        })
    }

    /// True when objects that a statement makes come with other privileges now.
    pub fn has_other_default_privileges(&mut self) -> bool {
        match &mut self.moments {
            Some((before, view)) if self.is_to_be_compared => {
                view.outside(before, default_privileges) != default_privileges()
            }
            _ => false,
        }
    }
}
