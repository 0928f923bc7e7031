//! Why a capture worker stopped.

/// An error of the capture layer. PostgreSQL's own errors are raised as panics and caught with it.
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

    /// The chain has a gap or an end; a new one is needed.
    #[error("{0}")]
    Broken(String),

    /// The settings prevent it from running.
    #[error("{0}")]
    Off(String),

    /// The worker was told to exit.
    #[error("shutdown requested")]
    Shutdown,
}

pub type Result<T> = std::result::Result<T, CaptureError>;
