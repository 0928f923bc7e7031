//! Throwaway clusters.
