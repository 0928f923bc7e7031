//! What a restore omits: objects that are dropped with a session, and those that depend on this project's own
//! extension. They are removed from the states that are compared, and reported.

mod ours;
mod parts;
mod temporary;

pub use ours::over_ours;
pub(crate) use temporary::is_over as is_over_temporary;
pub use temporary::{leave_out_parts as leave_out_temporary_parts, whole as whole_temporary};

/// An object, or a part of one, that a restore omits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// Kind and name.
    pub object: String,
    /// Empty if the statement that created it contains it.
    pub definition: String,
}
