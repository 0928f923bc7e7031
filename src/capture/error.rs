//! Why a capture worker stopped.

/// An error of the capture layer. PostgreSQL's own errors pass as panics and are caught with it.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Archive(#[from] archive::Error),

    #[error(transparent)]
    Frame(#[from] crate::output_plugin::frame::UnknownFrame),

    #[error("could not read the slot: {0}")]
    Spi(#[from] pgrx::spi::Error),

    #[error("{0}")]
    Foreign(String),

    /// The chain has a gap or an end; only a new one helps.
    #[error("{0}")]
    Broken(String),

    /// Settings do not let it run.
    #[error("{0}")]
    Off(String),

    /// The worker was asked to end.
    #[error("shutdown requested")]
    Shutdown,
}

pub type Result<T> = std::result::Result<T, CaptureError>;
