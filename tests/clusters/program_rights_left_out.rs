//! left out
