//! What a restore does without: what goes with a session, and what is over this project's own extension. It is
//! taken out of the states that are compared, and told.

mod ours;
mod parts;
mod temporary;

pub use ours::over_ours;
pub(crate) use temporary::is_over as is_over_temporary;
pub use temporary::{leave_out_parts as leave_out_temporary_parts, whole as whole_temporary};

/// An object, or a part of one, that a restore does without.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// Kind and name.
    pub object: String,
    /// Empty where the statement that made it says it.
    pub definition: String,
}
